"""Networks: the adapter's weights are leaves, and a new perceptron is zero."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from twinjax.network import Network, perceptron, pirate_net


def test_weights_are_leaves_and_the_output_is_that_of_the_module():
    module = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    network, x = Network(module), jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(network(x), module(x))
    assert sorted(leaf.shape for leaf in jax.tree.leaves(network)) == [(2,), (3, 2)]
    gradient = eqx.filter_grad(lambda net: jnp.sum(net(x)))(network)
    np.testing.assert_allclose(gradient.weights["bias"], [2, 2])
    doubled = jax.tree.map(lambda leaf: 2 * leaf, network)
    np.testing.assert_allclose(eqx.filter_jit(doubled)(x), 2 * module(x), rtol=1e-6)


def test_perceptron_is_zero_before_training_and_has_gradients():
    network = perceptron(4, width=5, depth=3, seed=1)
    x = jnp.asarray(np.random.default_rng(0).random((7, 4)))
    np.testing.assert_allclose(network(x), np.zeros(7))
    gradient = eqx.filter_grad(lambda net: jnp.sum(net(x)))(network)
    assert float(jnp.abs(gradient.weights["last"]["kernel"]).max()) > 0
    assert {leaf.dtype for leaf in jax.tree.leaves(network)} == {jnp.zeros(()).dtype}


@pytest.mark.thorough
def test_a_pirate_net_begins_with_nothing_and_its_derivatives_are_those_of_differences():
    network = pirate_net(3, width=6, blocks=2, seed=1)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((5, 3)))
    np.testing.assert_array_equal(network(x), np.zeros(5))
    keys = jax.random.split(jax.random.key(0), len(jax.tree.leaves(network)))
    noise = jax.tree.unflatten(jax.tree.structure(network), list(keys))
    network = jax.tree.map(lambda leaf, key: leaf + 0.3 * jax.random.normal(key, leaf.shape), network, noise)
    direction, h = jnp.asarray([0.3, -0.5, 0.8]), 1e-5
    _, first = jax.jvp(network, (x,), (jnp.broadcast_to(direction, x.shape),))
    numeric = (network(x + h * direction) - network(x - h * direction)) / (2 * h)
    np.testing.assert_allclose(first, numeric, atol=1e-8)
    assert float(jnp.abs(first).max()) > 0.1
    gradient = eqx.filter_grad(lambda net: jnp.sum(net(x)))(network)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))
