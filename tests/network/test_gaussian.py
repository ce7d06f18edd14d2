"""A network whose prior is stated for its value: its deviation is that at every input, whatever its hidden weights."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.network import GaussianNetwork

X = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (40, 3)))
DEVIATION = 0.7


def with_weights(network: GaussianNetwork, last, hidden=None) -> GaussianNetwork:
    if hidden is not None:
        network = eqx.tree_at(lambda n: n.hidden, network, tuple(hidden))
    return eqx.tree_at(lambda n: n.last, network, tuple(last))


def test_it_is_0_before_training():
    np.testing.assert_array_equal(GaussianNetwork(3, deviation=DEVIATION)(X), np.zeros(40))


def test_prior_deviation_is_that_of_the_function():
    """Linear in `last`, so that the length of the gradient is the deviation under standard normal weights."""
    network = GaussianNetwork(3, deviation=DEVIATION, width=6, seed=1)
    rng = np.random.default_rng(1)
    for spread in (0.0, 1.0, 3.0):
        hidden = jnp.asarray(spread * rng.normal(size=len(network.hidden)))
        gradient = jax.jacfwd(lambda last, hidden=hidden: with_weights(network, last, hidden)(X))(jnp.zeros(7))
        np.testing.assert_allclose(jnp.linalg.norm(gradient, axis=1), DEVIATION, rtol=1e-12)
    # And by draws of all weights.
    last, hidden = rng.normal(size=(4000, 7)), rng.normal(size=(4000, len(network.hidden)))
    drawn = jax.jit(jax.vmap(lambda w, h: with_weights(network, w, h)(X)))(jnp.asarray(last), jnp.asarray(hidden))
    np.testing.assert_allclose(jnp.std(drawn, axis=0), DEVIATION, rtol=0.06)


def test_values_far_apart_are_told_apart_and_near_ones_belong_together():
    network = GaussianNetwork(1, deviation=1.0, width=8)
    points = jnp.asarray([[-1.0], [-0.95], [1.0]])
    features = jax.jacfwd(lambda last: with_weights(network, last)(points))(jnp.zeros(9))
    correlation = np.asarray(features @ features.T)
    assert correlation[0, 1] > 0.95
    assert correlation[0, 2] < 0.6


def test_what_is_known_takes_the_place_of_the_prior():
    network = GaussianNetwork(3, deviation=DEVIATION, width=4)
    rng = np.random.default_rng(2)
    center, root = rng.normal(size=5), np.tril(rng.normal(size=(5, 5))) + 2 * np.eye(5)
    known = network.knowing(center, root @ root.T)
    np.testing.assert_allclose(known(X), with_weights(network, jnp.asarray(center))(X), rtol=1e-12)
    z = rng.normal(size=5)
    np.testing.assert_allclose(
        with_weights(known, jnp.asarray(z))(X), with_weights(network, jnp.asarray(center + root @ z))(X), rtol=1e-10
    )
    # Learned again, from there.
    again = known.knowing(z, np.eye(5))
    np.testing.assert_allclose(again(X), with_weights(known, jnp.asarray(z))(X), rtol=1e-10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"deviation": -0.1}, "deviation"),
        ({"deviation": float("nan")}, "deviation"),
        ({"deviation": 1, "width": 0}, "width"),
    ],
)
def test_what_is_no_network_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        GaussianNetwork(2, **settings)
