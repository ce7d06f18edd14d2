"""`DensityOperator`: what holds whatever its weights are, derivatives, what it refuses, and its file."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import FisherKPP, PointSeed
from twinjax.network import fourier_operator
from twinjax.simulation import DensityOperator, load_operator, save_operator
from twinjax.simulation.density_operator import FIELDS, OUTPUTS, SCALARS, described, spread_evenly

VOXELS, SPACING = 8, 4.0


@pytest.fixture(scope="module")
def model() -> FisherKPP:
    """In white and grey matter beside a hole."""
    white = np.broadcast_to(np.linspace(0, 1, VOXELS), (VOXELS,) * 3)
    mask = np.ones((VOXELS,) * 3, bool)
    mask[:2, 3:, :] = False
    domain = Domain(mask, (SPACING,) * 3, white_matter=white, grey_matter=1 - white)
    return FisherKPP(domain, diffusivity=0.1, proliferation_rate=0.05, carrying_capacity=0.8)


@pytest.fixture(scope="module")
def state0(model) -> jax.Array:
    return PointSeed([12.0, 14.0, 16.0], radius=5.0, amplitude=0.6)(model.domain)


@pytest.fixture(scope="module")
def operator(model, state0) -> DensityOperator:
    """With weights drawn by chance: none of what is tested here is learned."""
    network, rng = fourier_operator(FIELDS, SCALARS, OUTPUTS, width=4, blocks=2), np.random.default_rng(0)
    network = jax.tree.map(lambda leaf: leaf + 0.3 * rng.standard_normal(leaf.shape), network)
    around = {name: (0.8 * value, 1.2 * value) for name, value in described(model, state0, 60.0).items()}
    return DensityOperator(network, SPACING, VOXELS, tuple(around.items()), (("relative_l2_median", 0.1),))


def test_densities_keep_their_bounds_and_nothing_is_outside_the_tissue(operator, model, state0):
    found = np.asarray(operator.predict(model, state0, 60.0))
    inside = np.asarray(model.domain.mask)
    assert (found[~inside] == 0).all() and found[inside].min() > 0 and found.max() <= 0.8
    assert np.abs(found - state0).max() > 0.05


def test_even_diffusion_is_that_of_a_gaussian_far_out_too():
    place = np.arange(40) - 19.5
    found = spread_evenly(jnp.asarray(np.exp(-(place**2) / (2 * 4.0))), jnp.asarray(3.0))
    # The variance rises by 2 D t.
    exact = np.sqrt(4 / 10) * np.exp(-(place**2) / (2 * 10.0))
    assert exact.min() < 1e-8
    np.testing.assert_allclose(found[4:-4], exact[4:-4], rtol=2e-2)
    np.testing.assert_allclose(found.sum(), exact.sum(), rtol=1e-6)


def test_it_begins_at_the_initial_density_and_grows_alone_without_diffusion(operator, model, state0):
    np.testing.assert_allclose(operator.density(model, state0, 0.0), state0, atol=1e-8)
    still = dataclasses.replace(model, diffusivity=jnp.asarray(1e-16))
    # Logistic growth: the share's logit rises by rho t.
    share = np.maximum(np.asarray(state0) / 0.8, 1e-9)
    grown = 0.8 / (1 + (1 / share - 1) * np.exp(-0.05 * 60.0)) * np.asarray(model.domain.mask)
    np.testing.assert_allclose(operator.density(still, state0, 60.0), grown, atol=1e-6)


@pytest.mark.parametrize("name", ["diffusivity", "proliferation_rate", "days", "state0"])
def test_derivatives_are_those_of_differences(operator, model, state0, name):
    @eqx.filter_jit
    def total(diffusivity, proliferation_rate, days, state0):
        moved = dataclasses.replace(model, diffusivity=diffusivity, proliferation_rate=proliferation_rate)
        return jnp.sum(operator.density(moved, state0, days) ** 2)

    point = {"diffusivity": 0.1, "proliferation_rate": 0.05, "days": 60.0, "state0": state0}
    point = {key: jnp.asarray(value) for key, value in point.items()}
    direction = 0.01 * point[name]
    _, found = jax.jvp(lambda value: total(**{**point, name: value}), (point[name],), (direction,))
    h = 1e-2
    ends = [total(**{**point, name: point[name] + by * direction}) for by in (h, -h)]
    np.testing.assert_allclose(found, (ends[0] - ends[1]) / (2 * h), rtol=1e-6)
    assert abs(float(found)) > 1e-3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"diffusivity": 0.2}, ("diffusivity = 0.2", "0.08", "0.12", "simulate")),
        ({"proliferation_rate": 0.03}, ("proliferation_rate = 0.03",)),
        ({"white_grey_ratio": 20.0}, ("white_grey_ratio = 20",)),
        ({"diffusivity": jnp.full((VOXELS,) * 3, 0.1)}, ("numbers",)),
        ({"growth": "gompertz"}, ("logistic",)),
    ],
)
def test_a_model_beyond_what_it_was_trained_for_is_refused(operator, model, state0, change, words):
    kept = {"domain": model.domain, "diffusivity": 0.1, "proliferation_rate": 0.05, "carrying_capacity": 0.8}
    with pytest.raises(InputError) as refused:
        operator.predict(FisherKPP(**{**kept, **change}), state0, 60.0)
    assert [word for word in words if word not in str(refused.value)] == []


def test_other_times_grids_and_tumours_are_refused(operator, model, state0):
    for days, start, words in ((90.0, state0, "days = 90"), (60.0, 0.1 * state0, "initial_radius")):
        with pytest.raises(InputError, match=words):
            operator.predict(model, start, days)
    with pytest.raises(InputError, match="state0 has shape"):
        operator.predict(model, state0[1:], 60.0)
    with pytest.raises(InputError, match="initial_radius = nan"):
        operator.predict(model, state0.at[4, 4, 4].set(jnp.nan), 60.0)
    finer = FisherKPP(Domain(np.ones((VOXELS,) * 3), (2.0,) * 3), diffusivity=0.1, proliferation_rate=0.05)
    with pytest.raises(InputError, match="cube_about"):
        operator.predict(finer, state0, 60.0)


def test_a_file_gives_the_same_network_back(operator, model, state0, tmp_path):
    save_operator(tmp_path / "operator.safetensors", operator)
    read = load_operator(tmp_path / "operator.safetensors")
    assert (read.ranges, read.errors, read.spacing, read.voxels) == (
        operator.ranges,
        operator.errors,
        SPACING,
        VOXELS,
    )
    for one, other in zip(jax.tree.leaves(read), jax.tree.leaves(operator), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(read.predict(model, state0, 60.0), operator.predict(model, state0, 60.0), rtol=1e-12)
    assert [path.name for path in tmp_path.iterdir()] == ["operator.safetensors"]


def test_another_file_is_refused(operator, tmp_path):
    path = tmp_path / "operator.safetensors"
    with pytest.raises(InputError, match="no such file"):
        load_operator(path)
    path.write_bytes(b"not a network")
    with pytest.raises(InputError, match="damaged"):
        load_operator(path)
    save_operator(path, operator)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="damaged"):
        load_operator(path)
