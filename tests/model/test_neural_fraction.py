"""The proliferating fraction as a network: one half before training, and a function of all of its inputs."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model.neural_fraction import NeuralFraction, trained_part


def test_fraction_is_one_half_and_sees_all_of_its_inputs():
    mask = np.ones((5, 4))
    domain = Domain(mask, (2.0, 3.0), maps={"perfusion": np.random.default_rng(1).random((5, 4))})
    fraction = NeuralFraction(axes=2, time_scale=100.0, width=8, depth=2)
    density = jnp.asarray(np.random.default_rng(2).random((5, 4)))
    np.testing.assert_allclose(fraction(domain, density, jnp.asarray(7.0)), 0.5)
    kernel = jnp.asarray(np.random.default_rng(3).normal(size=(8, 1)))
    moved = eqx.tree_at(lambda f: f.network.weights["last"]["kernel"], fraction, kernel)
    field = moved(domain, density, jnp.asarray(7.0))
    assert bool(((field > 0) & (field < 1)).all())
    np.testing.assert_allclose(moved(domain, density.ravel(), jnp.asarray(7.0)), field.ravel())
    assert float(jnp.abs(moved(domain, density, jnp.asarray(70.0)) - field).min()) > 1e-6
    assert float(jnp.abs(moved(domain, density + 0.2, jnp.asarray(7.0)) - field).min()) > 1e-6
    even = Domain(mask, (2.0, 3.0))
    assert float(jnp.abs(moved(even, density, jnp.asarray(7.0)) - field).min()) > 1e-6
    assert float(jnp.std(moved(even, jnp.full((5, 4), 0.3), jnp.asarray(7.0)))) > 1e-3
    moving, _ = eqx.partition(moved, trained_part(moved))
    assert len(jax.tree.leaves(moving)) == len(jax.tree.leaves(moved.network))


def test_time_scale_must_be_positive():
    with pytest.raises(InputError, match="time_scale"):
        NeuralFraction(time_scale=0.0)
