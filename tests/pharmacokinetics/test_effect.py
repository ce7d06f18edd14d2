"""Effects of a concentration: Hill's rate, and the accuracy of its quadrature."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from twinjax.core.config import load_named
from twinjax.pharmacokinetics import Dosing, HillEffect, LinearEffect

# Drug, its schedule, EC50 (mg/L) and Hill's exponent: from minutes in plasma to weeks.
SCHEDULES = {
    "gemcitabine": (Dosing([0.0, 7.0, 14.0], 1800.0, 0.5 / 24), 0.5, 1.0),
    "temozolomide": (Dosing([0.0, 1.0, 2.0], 135.0), 0.3, 2.0),
    "fluorouracil": (Dosing([0.0, 0.01], [720.0, 4320.0], [0.0, 46 / 24]), 0.3, 1.5),
    "doxorubicin": (Dosing([0.0, 14.0], 108.0), 0.01, 1.0),
    "durvalumab": (Dosing([0.0, 28.0], 1500.0, 1 / 24), 1.0, 1.0),
    "leuprolide": (Dosing([0.0], 22.5), 1e-4, 1.0),
}


@pytest.mark.parametrize(
    "name", ["gemcitabine", *(pytest.param(n, marks=pytest.mark.thorough) for n in SCHEDULES if n != "gemcitabine")]
)
def test_quadrature(name):
    """To 1e-7 over a day, 1e-5 over a week and a month."""
    dosing, half, exponent = SCHEDULES[name]
    effect, model = HillEffect(0.7, half, exponent), load_named("pharmacokinetics", name)
    rate = jax.jit(lambda t: effect.rate(model.concentration(dosing, t)))
    integrals = jax.jit(lambda start, stop: effect.integrals(model, dosing, start, stop))
    events = np.concatenate([dosing.times, dosing.times + dosing.durations])
    for start, stop, accuracy in ((0.0, 1.0, 1e-7), (0.3, 7.3, 1e-5), (1.0, 31.0, 1e-5)):
        cuts = np.unique(np.concatenate([events, *(e + np.geomspace(1e-3, 30, 30) for e in events), [start, stop]]))
        edges = cuts[(cuts >= start) & (cuts <= stop)]
        # The integral, and the first moment about `start`.
        integrands = (lambda t: float(rate(t)), lambda t, start=start: float(rate(t)) * (t - start))
        expected = [sum(quad(f, a, b, epsrel=1e-9, limit=5)[0] for a, b in pairwise(edges)) for f in integrands]
        shares, instants = integrals(start, stop)
        np.testing.assert_allclose([shares.sum(), shares @ instants], expected, rtol=accuracy)
        assert bool((instants >= 0).all()) and bool((instants <= stop - start).all())


def test_hill():
    effect = HillEffect(0.7, 2.0, 3.0)
    np.testing.assert_allclose(effect.rate(jnp.array([0.0, 2.0, 4.0])), [0.0, 0.35, 0.7 * 8 / 9], rtol=1e-12)
    np.testing.assert_allclose(effect.rate(jnp.array([1e-200, 1e200])), [0.0, 0.7], atol=1e-300)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 3.0])
def test_derivatives_are_finite_without_drug(exponent):
    effect, model = HillEffect(0.7, 2.0, exponent), load_named("pharmacokinetics", "cyclophosphamide")

    def total(effect, times):
        return effect.integrals(model, Dosing(times, 900.0), 0.0, 3.0)[0].sum() + effect.rate(jnp.zeros(()))

    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))(effect, jnp.array([1.0, 5.0]))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradients))


def test_linear_effect_is_the_exposure():
    dosing, model = SCHEDULES["gemcitabine"][0], load_named("pharmacokinetics", "gemcitabine")
    shares, instants = LinearEffect(0.25).integrals(model, dosing, 0.0, 30.0)
    # Dose over clearance, 1 / 4 of it.
    np.testing.assert_allclose(shares, 0.25 * 1800 / (2.7 * 1440), rtol=1e-9)
    assert bool((instants > dosing.times).all())
