"""A large grid solved in the box that holds the cells: the same answer, for gradients and batches too."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.domain import Domain
from twinjax.domain.active_box import bounds, box_shapes, edge_maximum
from twinjax.model import FisherKPP
from twinjax.simulation import simulate
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

SHAPE = (720, 700)
RNG = np.random.default_rng(0)
WHITE = RNG.random(SHAPE)
DOMAIN = Domain(RNG.random(SHAPE) < 0.95, (1.0, 1.2), white_matter=WHITE, grey_matter=1 - WHITE)


def model(diffusivity=0.3, **parameters):
    return FisherKPP(DOMAIN, diffusivity=diffusivity, proliferation_rate=0.1, **parameters)


def seed(centre=(300.0, 420.0), width=5.0):
    distance2 = ((np.asarray(DOMAIN.coordinates()) - np.reshape(centre, (2, 1, 1))) ** 2).sum(0)
    return jnp.asarray(0.6 * np.exp(-distance2 / width**2) * np.asarray(DOMAIN.mask))


REGIMEN = Regimen([Radiotherapy([4.0, 5.0], 2.0, alpha=0.1), Chemotherapy([8.0], 75.0, sensitivity=1.0)])
TIMES = [10.0, 30.0]


def total(diffusivity, state0, active_box, adjoint=None):
    states = simulate(model(diffusivity), REGIMEN, state0, TIMES, active_box=active_box, adjoint=adjoint).states
    return jnp.sum(states**2, axis=(-2, -1))


def test_sizes_grow_and_small_grids_have_none():
    sizes = box_shapes((197, 233, 189), (1.0, 1.0, 1.0))
    voxels = np.prod(sizes, axis=1)
    assert len(sizes) == 6
    assert (voxels[1:] / voxels[:-1] > 1.8).all() and voxels[-1] < 0.6 * 197 * 233 * 189
    assert box_shapes((60, 60, 60), (1.0, 1.0, 1.0)) == []


def test_bounds_and_edge():
    occupied = np.zeros((9, 8, 7), bool)
    occupied[2:5, 3, 1:7] = True
    lower, upper = bounds(jnp.asarray(occupied))
    assert (lower.tolist(), upper.tolist()) == ([2, 3, 1], [5, 4, 7])
    assert bounds(jnp.zeros((9, 8, 7), bool))[0].tolist() == [0, 0, 0]
    # The lower face along the first axis is the grid's own; the others are not.
    u = jnp.zeros((4, 5)).at[0, 2].set(7.0).at[3, 2].set(2.0).at[1, 0].set(1.0)
    assert edge_maximum(u, (0, 1), (4, 5), (9, 9)) == 2.0


@pytest.mark.parametrize("centre", [(300.0, 420.0), (3.0, 830.0)], ids=["inside", "in a corner"])
def test_the_answer_is_that_of_the_whole_grid(centre):
    boxed, whole = (
        simulate(model(), REGIMEN, seed(centre), TIMES, active_box=on).require_success().states for on in (True, False)
    )
    assert float(whole[1].max()) > 0.5
    # The steps differ slightly, since the solve stops where the box is placed anew.
    np.testing.assert_allclose(boxed, whole, atol=2e-5)
    assert float(jnp.abs(boxed - whole).max()) > 0


@pytest.mark.thorough
def test_a_box_whose_walls_are_reached_is_given_up():
    """Cells everywhere that are fewer than count: they grow, and the box around the tumour is not enough."""
    state0 = seed() + jnp.where(DOMAIN.mask, 0.9e-7, 0.0)
    boxed, whole = (simulate(model(), Regimen(), state0, TIMES, active_box=on).states for on in (True, False))
    np.testing.assert_allclose(boxed, whole, atol=2e-5)
    corner = np.s_[1, :20, :20]
    assert float(whole[corner].max()) > 1e-6
    np.testing.assert_allclose(boxed[corner], whole[corner], rtol=1e-6)


@pytest.mark.slow
def test_gradients_in_the_box():
    for mode in (diffrax.ForwardMode(), None):
        take = jax.jacfwd if mode is not None else jax.jacrev
        boxed, whole = (
            take(lambda d, on=on, mode=mode: total(d, seed(), on, mode))(jnp.asarray(0.3)) for on in (True, False)
        )
        np.testing.assert_allclose(boxed, whole, rtol=1e-3)


@pytest.mark.thorough
def test_a_batch_shares_one_box():
    states = jnp.stack([seed(), seed((500.0, 200.0))])
    batch = jax.vmap(lambda d, state: total(d, state, True))(jnp.array([0.2, 0.4]), states)
    alone = jnp.stack([total(d, state, True) for d, state in zip([0.2, 0.4], states, strict=True)])
    np.testing.assert_allclose(batch, alone, rtol=1e-6)
