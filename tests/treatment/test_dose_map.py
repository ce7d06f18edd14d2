"""Radiotherapy whose dose differs from place to place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import FisherKPP
from twinjax.simulation import simulate
from twinjax.treatment import Radiotherapy, Regimen

MAP = np.array([0.0, 0.5, 1.0, 1.1])


def test_each_voxel_has_its_own_dose():
    """exp(-alpha m d (1 + m d / (alpha/beta))), and with hypoxia m d / OER."""
    course = Radiotherapy([0.0, 1.0], [2.0, 3.0], alpha=0.1, alpha_beta_ratio=8.0, dose_map=MAP)
    dose = 3.0 * MAP
    np.testing.assert_allclose(course.survival(1, jnp.ones(4)), np.exp(-0.1 * dose * (1 + dose / 8)), rtol=1e-12)
    assert course.log_kill is None
    hypoxic = Radiotherapy([0.0], [3.0], alpha=0.1, alpha_beta_ratio=8.0, dose_map=MAP, oxygen_enhancement_ratio=1.5)
    dose = 2.0 * MAP
    np.testing.assert_allclose(hypoxic.survival(0, jnp.ones(4)), np.exp(-0.1 * dose * (1 + dose / 8)), rtol=1e-12)


@pytest.mark.thorough
def test_an_even_map_is_no_map():
    domain = Domain(np.ones(12), (1.0,))
    model = FisherKPP(domain, diffusivity=0.2, proliferation_rate=0.05)
    u = np.linspace(0.1, 0.9, 12)
    plain, mapped = (
        simulate(model, Regimen([Radiotherapy([1.0, 2.0], 2.0, dose_map=m)]), u, [5.0], max_step=0.125)
        for m in (None, np.ones(12))
    )
    # The one kills within the exact flow, the other at cuts of the time axis.
    np.testing.assert_allclose(mapped.require_success().states, plain.require_success().states, rtol=1e-5)


def test_outside_the_map_the_tumour_grows_on():
    domain = Domain(np.ones(12), (1.0,))
    model = FisherKPP(domain, diffusivity=0.0, proliferation_rate=0.05)
    half = np.repeat([1.0, 0.0], 6)
    course = Regimen([Radiotherapy(np.arange(5.0), 2.0, alpha=0.1, dose_map=half)])
    state = np.asarray(simulate(model, course, np.full(12, 0.3), [5.0]).require_success().states[0])
    np.testing.assert_allclose(state[6:], 1 / (1 + (0.7 / 0.3) * np.exp(-0.25)), rtol=1e-9)
    assert (state[:6] < 0.3 * np.exp(-0.1 * 10) * np.exp(0.25)).all()


def test_the_map_is_brought_to_the_solvers_grid():
    """From 1 mm to 2 mm by averaging, and nothing outside the map."""
    fine = np.eye(4)
    fine[:3, 3] = -0.5
    relative = np.zeros((4, 2, 2))
    relative[0], relative[1], relative[2:] = 1.0, 0.5, 0.2
    coarse = np.diag([2.0, 2.0, 2.0, 1.0])
    domain = Domain(np.ones((3, 1, 1)), (2.0,) * 3, affine=coarse)
    course = Radiotherapy([0.0, 1.0], 2.0, alpha=0.05, dose_map=relative, affine=fine)
    placed = Regimen([course]).on(domain).treatments[0]
    np.testing.assert_allclose(np.ravel(placed.dose_map), [0.75, 0.2, 0.0], atol=1e-6)
    assert float(placed.alpha) == 0.05
    later = placed.select(np.array([False, True])).shifted(3.0)
    np.testing.assert_allclose(later.times, [4.0])
    np.testing.assert_allclose(later.dose_map, placed.dose_map)
    np.testing.assert_allclose(later.affine, coarse)


def test_maps_that_do_not_fit_are_refused():
    domain = Domain(np.ones(12), (1.0,))
    with pytest.raises(InputError, match="dose map has shape"):
        Radiotherapy([0.0], 2.0, dose_map=np.ones(7)).on(domain)
    for bad in (-1.0, np.nan):
        with pytest.raises(InputError, match="every voxel of dose_map"):
            Radiotherapy([0.0], 2.0, dose_map=np.array([1.0, bad]))


def test_gradient_in_the_map():
    gradient = jax.grad(lambda m: jnp.sum(Radiotherapy([0.0], 2.0, alpha=0.1, dose_map=m).survival(0, jnp.ones(4))))(
        jnp.asarray(MAP)
    )
    dose = 2.0 * MAP
    np.testing.assert_allclose(
        gradient, -0.1 * 2 * (1 + 2 * dose / 10) * np.exp(-0.1 * dose * (1 + dose / 10)), rtol=1e-10
    )
