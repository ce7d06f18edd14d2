"""The Fourier neural operator: its transform, its symmetry, its derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.network import fourier_operator
from twinjax.network.fourier import cosines, filtered

SHAPE = (6, 5, 4)


def disturbed(network):
    """The network with other weights than it begins with, of which some are zero."""
    leaves, structure = jax.tree.flatten(network)
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(structure, [leaf + 0.3 * rng.standard_normal(leaf.shape) for leaf in leaves])


def inputs(shape=SHAPE):
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.standard_normal((*shape, 2))), jnp.asarray(rng.standard_normal(3))


def test_the_modes_are_those_of_diffusion_without_flux_and_orthonormal():
    waves = cosines(7, 7)
    np.testing.assert_allclose(waves @ waves.T, np.eye(7), atol=1e-12)
    # The second difference, with the outer voxels mirrored.
    laplacian = np.diff(np.pad(waves, [(0, 0), (1, 1)], mode="edge"), n=2, axis=1)
    rate = 2 * np.cos(np.pi * np.arange(7) / 7) - 2
    np.testing.assert_allclose(laplacian, rate[:, None] * waves, atol=1e-12)
    fields, _ = inputs()
    np.testing.assert_allclose(filtered(fields, jnp.ones((*SHAPE, 2))), fields, atol=1e-12)
    mean = filtered(fields, jnp.ones((1, 1, 1, 2)))
    np.testing.assert_allclose(mean, np.broadcast_to(fields.mean(axis=(0, 1, 2)), mean.shape), atol=1e-12)


def test_it_is_zero_before_training_and_turns_with_the_grid():
    network, (fields, scalars) = fourier_operator(2, 3, 2, width=4, blocks=2), inputs()
    np.testing.assert_array_equal(network(fields, scalars), np.zeros((*SHAPE, 2)))
    call = eqx.filter_jit(disturbed(network))
    found = np.asarray(call(fields, scalars))
    assert found.std() > 0.1
    turned = np.asarray(call(jnp.transpose(fields, (2, 0, 1, 3))[::-1, :, ::-1], scalars))
    np.testing.assert_allclose(turned, np.transpose(found, (2, 0, 1, 3))[::-1, :, ::-1], atol=1e-10)


@pytest.mark.thorough
def test_derivatives_are_those_of_differences():
    network, (fields, scalars) = disturbed(fourier_operator(2, 3, 2, width=4, blocks=2)), inputs()
    rng, h = np.random.default_rng(2), 1e-5
    leaves, structure = jax.tree.flatten((network, fields, scalars))
    direction = jax.tree.unflatten(structure, [jnp.asarray(rng.standard_normal(leaf.shape)) for leaf in leaves])

    @jax.jit
    def total(network, fields, scalars):
        return jnp.sum(network(fields, scalars) ** 2)

    def moved(by):
        return total(*jax.tree.map(lambda leaf, d: leaf + by * d, (network, fields, scalars), direction))

    gradient = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(network, fields, scalars)
    along = sum(jnp.sum(g * d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(along, (moved(h) - moved(-h)) / (2 * h), rtol=1e-6)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))
