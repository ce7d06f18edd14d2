"""phi and psi against integrals in many digits."""

from decimal import Decimal, localcontext
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinjax.pharmacokinetics.exponential import SMALL, phi, psi

RATES = st.one_of(st.floats(0, 2), st.floats(0, 50), st.sampled_from([0.0, 1e-9, SMALL, np.nextafter(SMALL, 0)]))


def exact(order, *rates):
    """The power series in 80 digits: sum over n of (-1)^n h_n(rates) / (n + order)!."""
    with localcontext(prec=80):
        rates = [Decimal(float(rate)) for rate in rates]
        symmetric, powers, total = Decimal(1), Decimal(1), Decimal(0)
        for n in range(260):
            total += (-1) ** n * symmetric / factorial(n + order)
            powers *= rates[-1]
            symmetric = symmetric * rates[0] + powers if len(rates) == 2 else powers
        return float(total)


@settings(max_examples=30)
@given(a=RATES, b=RATES)
def test_values(a, b):
    np.testing.assert_allclose(phi(4, np.array(a)), [exact(k, a) for k in range(5)], rtol=2e-14)
    found = psi(4, np.array(a), np.array(b))
    np.testing.assert_allclose(found, [exact(k, a, b) for k in range(1, 5)], rtol=5e-14)
    np.testing.assert_array_equal(found, psi(4, np.array(b), np.array(a)))


@pytest.mark.parametrize("rate", [1e3, 1e8, 1e300])
def test_large_rates(rate):
    large = np.array(rate)
    np.testing.assert_allclose(phi(3, large), [0, 1 / rate, 1 / rate, 0.5 / rate], rtol=2.1e-3)
    fed = [np.exp(-1), 1 - np.exp(-1), np.exp(-1)]
    np.testing.assert_allclose(psi(3, large, np.array(1.0)), np.array(fed) / rate, rtol=3e-3)
