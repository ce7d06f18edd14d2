"""Parameters that differ from place to place: two solvers that share nothing agree on them."""

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import FisherKPP, LungTumor
from twinjax.simulation import simulate
from twinjax.treatment import Radiotherapy, Regimen

COUNT = 40
DOMAIN = Domain(np.ones(COUNT), (1.0,), white_matter=np.ones(COUNT))
X = np.arange(COUNT)
FIELDS = {"diffusivity": np.where(X < 22, 0.3, 0.05), "proliferation_rate": 0.03 + 0.04 * X / COUNT}
START = 0.7 * np.exp(-((X - 18.0) ** 2) / (2 * 4.0**2))


@pytest.mark.parametrize(
    ("kind", "growth"), [(FisherKPP, "logistic"), pytest.param(LungTumor, "gompertz", marks=pytest.mark.thorough)]
)
def test_splitting_and_a_solver_of_the_whole_equation_agree(kind, growth):
    """Two fractions in one step, which splitting takes at their mean instant."""
    model, regimen = kind(DOMAIN, growth=growth, **FIELDS), Regimen((Radiotherapy([10.2, 10.6], [2.0, 4.0]),))
    split, whole = (
        simulate(model, regimen, START, [25.0], solver=solver, max_step=1.0).require_success().states[0]
        for solver in (None, diffrax.Tsit5())
    )
    np.testing.assert_allclose(split, whole, atol=1e-3)
    assert float(jnp.abs(split - whole).max()) > 0


@pytest.mark.parametrize("kind", [FisherKPP, LungTumor])
def test_a_field_of_another_grid_is_refused(kind):
    with pytest.raises(InputError, match=r"diffusivity has shape \(7,\), the domain \(40,\); give one number, or a"):
        kind(DOMAIN, diffusivity=np.ones(7))
    with pytest.raises(InputError, match=r"proliferation_rate has shape \(40,\), the domain \(20,\)"):
        kind(DOMAIN, proliferation_rate=np.full(COUNT, 0.03)).on(DOMAIN.resampled(2.0))
