"""No product of matrices is left to the precision that a GPU takes by default; likelihoods in test_gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from precision import inexact_products

from twinjax.core.config import choices, load_named
from twinjax.core.kills import Kills
from twinjax.domain import Domain
from twinjax.domain.elasticity import ElasticTissue
from twinjax.domain.sampling import Sampling
from twinjax.model.distributed_kill import logistic_flow
from twinjax.network import perceptron, pirate_net
from twinjax.observation.correlation import CorrelatedModes
from twinjax.pharmacokinetics import Dosing


def test_a_product_left_to_the_device_is_found_in_a_loop_and_in_a_derivative():
    def function(x):
        return jax.lax.fori_loop(0, 3, lambda _, y: jnp.tanh(x @ y), x)

    x = jnp.eye(3)
    assert len(inexact_products(function, x)) == 1
    assert len(inexact_products(jax.grad(lambda x: function(x).sum() + (x @ x).sum()), x)) > 1


@pytest.mark.parametrize("drug", choices("pharmacokinetics"))
def test_of_concentrations(drug):
    pharmacokinetics, dosing = load_named("pharmacokinetics", drug), Dosing([0.0, 3.0], [10.0, 5.0], [0.1, 0.0])
    assert not inexact_products(lambda t: pharmacokinetics.concentration(dosing, t), jnp.linspace(0, 9, 4))
    assert not inexact_products(lambda t: pharmacokinetics.moments(dosing, 0.0, t), jnp.asarray(4.0))


def test_of_positions_in_a_rotated_grid():
    turned = np.array([[0.8, -0.6, 0.0, 3.0], [0.6, 0.8, 0.0, 1.0], [0.0, 0.0, 1.0, -2.0], [0.0, 0.0, 0.0, 1.0]])
    domain = Domain(np.ones((3, 4, 5)), (1.0, 1.0, 1.0), affine=turned)
    assert not inexact_products(lambda: domain.coordinates())
    np.testing.assert_allclose(domain.coordinates()[:, 2, 1, 4], (turned @ [2, 1, 4, 1])[:3])


def test_of_correlated_errors():
    position = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), -1).reshape(-1, 3)
    modes = CorrelatedModes.of(position, np.ones(3), 3.0)
    assert modes is not None
    assert not inexact_products(modes.project, jnp.ones(len(position)))
    assert not inexact_products(modes.expand, jnp.ones(len(modes.eigenvalues)))


def test_of_what_a_coarser_scan_sees():
    half = jnp.kron(jnp.eye(4), jnp.full((1, 2), 0.5))
    sampling = Sampling((half, half), (2.0, 2.0))
    assert not inexact_products(sampling, jnp.ones((8, 8)))


def test_of_a_kill_that_differs_from_place_to_place():
    kills, exposure = Kills(jnp.ones(3), jnp.arange(3.0)), jnp.linspace(0.0, 1.0, 200)

    def flow(u):
        return logistic_flow(u, 4.0, jnp.asarray(0.1), 1.0, log_kill=0.0, kills=kills, exposure=exposure)

    assert not inexact_products(flow, jnp.full(200, 0.3))


def test_of_displacements():
    tissue = ElasticTissue(2.0, np.ones((4, 5, 6), bool), (1.0, 1.0, 2.0))
    assert not inexact_products(lambda p: tissue.von_mises(tissue.response(p).strain), jnp.ones((4, 5, 6)))


@pytest.mark.parametrize("network", [perceptron(3, width=5, depth=2), pirate_net(3, width=6, blocks=2)])
def test_of_networks(network):
    assert not inexact_products(jax.grad(lambda x: network(x).sum()), jnp.ones((7, 3)))
