"""Cells that move along fibres: the tensor of Painter and Hillen, its isotropic limit, the spread in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.calibration.tumor import Tumor
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import AnisotropicFisherKPP, DensityField, FisherKPP, Forcing, tensor_maps
from twinjax.model.anisotropic import share_across
from twinjax.simulation import simulate
from twinjax.treatment import Regimen


def water(direction, anisotropy: float) -> np.ndarray:
    """(3, 3) axially symmetric tensor of that fractional anisotropy along a unit vector, in mm²/s."""
    # FA of the eigenvalues (1 + 2 s, 1 - s, 1 - s) is 3 s / sqrt(3 + 6 s²).
    s = np.sqrt(3 * anisotropy**2 / (9 - 6 * anisotropy**2))
    outer = np.outer(direction, direction)
    return 0.8e-3 * ((1 - s) * np.eye(3) + 3 * s * outer)


def uniform(shape, spacing, direction, anisotropy=0.6, **tissue) -> Domain:
    tensor = np.multiply.outer(water(direction, anisotropy), np.ones(shape))
    return Domain(np.ones(shape), spacing, maps=tensor_maps(tensor), **tissue)


OBLIQUE = np.array([np.cos(0.5), np.sin(0.5), 0.0])


def test_share_across_the_fibre():
    """The second moment of the bimodal von Mises-Fisher distribution, by quadrature over the sphere; 1/3 at 0."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    for c in (0.0, 1e-3, 0.29, 0.31, 2.0, 15.0):
        density = np.cosh(c * nodes)
        along = np.sum(weights * nodes**2 * density) / np.sum(weights * density)
        np.testing.assert_allclose(share_across(jnp.asarray(c)), (1 - along) / 2, rtol=1e-9)
    slopes = jax.vmap(jax.grad(share_across))(jnp.array([0.0, 0.2, 5.0]))
    assert bool(jnp.isfinite(slopes).all())


@pytest.mark.parametrize("direction", [OBLIQUE, np.array([0.0, 0.6, -0.8])], ids=["in the plane", "oblique"])
def test_tensor_has_mean_diffusivity_one_along_the_fibre(direction):
    tensor = AnisotropicFisherKPP(uniform((3, 2, 2), (1.0,) * 3, direction), anisotropy=10.0).relative_tensor()
    values, vectors = np.linalg.eigh(np.moveaxis(np.asarray(tensor), (0, 1), (-2, -1)))
    across = float(share_across(jnp.asarray(6.0)))
    np.testing.assert_allclose(values, np.broadcast_to([3 * across, 3 * across, 3 - 6 * across], values.shape))
    np.testing.assert_allclose(np.abs(vectors[..., -1] @ direction), 1.0)


def test_without_anisotropy_it_is_the_isotropic_model():
    rng = np.random.default_rng(0)
    white = rng.random((7, 6))
    tensor = np.multiply.outer(water(OBLIQUE, 0.7), np.ones(white.shape))
    tissue = {"white_matter": white, "grey_matter": 1 - white}
    domain = Domain(rng.random(white.shape) < 0.9, (1.0, 1.5), maps=tensor_maps(tensor), **tissue)
    rates = {"diffusivity": 0.3, "proliferation_rate": 0.06, "growth": "gompertz", "carrying_capacity": 0.8}
    even, plain = AnisotropicFisherKPP(domain, anisotropy=0.0, **rates), FisherKPP(domain, **rates)
    u, kill = jnp.asarray(rng.random(white.shape)), jnp.asarray(0.01)
    open_tissue = jnp.asarray(rng.random(white.shape) < 0.8, float)

    @eqx.filter_jit
    def rate(model):
        return model.vector_field(0.0, u, Forcing(kill, model.transport(open_tissue)))

    np.testing.assert_allclose(rate(even), rate(plain), atol=1e-13)
    along = AnisotropicFisherKPP(domain, **rates)
    assert float(jnp.abs(rate(along) - rate(plain)).max()) > 1e-3
    assert float(along.reach(30.0)) > float(plain.reach(30.0))
    # Without a tensor in the data there is no direction; grey matter has none at all.
    blank = Domain(np.ones((4, 4)), (1.0, 1.0), maps=tensor_maps(np.zeros((3, 3, 4, 4))))
    np.testing.assert_allclose(
        AnisotropicFisherKPP(blank).relative_tensor(), np.multiply.outer(np.eye(2), np.ones((4, 4)))
    )


def test_cells_spread_along_the_fibre():
    """Without growth, through `simulate`: a Gaussian of covariance S + 2 D t."""
    n, h, time = 48, 0.5, 6.0
    domain = uniform((n, n), (h, h), OBLIQUE, 0.7)
    model = AnisotropicFisherKPP(domain, diffusivity=0.4, proliferation_rate=0.0)
    across = float(share_across(jnp.asarray(7.0)))
    e = OBLIQUE[:2]
    diffusion = 0.4 * 3 * (across * np.eye(2) + (1 - 3 * across) * np.outer(e, e))
    x = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) * h - n * h / 2] * 2, indexing="ij"))

    def gaussian(covariance):
        form = np.einsum("i...,ij,j...->...", x, np.linalg.inv(covariance), x)
        return 0.3 * np.exp(-form / 2) * np.sqrt(4.0 / np.linalg.det(covariance))

    start = gaussian(2.0 * np.eye(2))
    state = np.asarray(simulate(model, Regimen(), start, [time], max_step=0.5).require_success().states[0])
    exact = gaussian(2.0 * np.eye(2) + 2 * diffusion * time)
    assert np.abs(state - exact).max() < 0.02 * exact.max()
    # An isotropic spread of the same mean diffusivity would be far from it.
    assert np.abs(gaussian((2.0 + 2 * 0.4 * time) * np.eye(2)) - exact).max() > 0.2 * exact.max()
    np.testing.assert_allclose(state.sum(), start.sum(), rtol=1e-12)


@pytest.mark.thorough
def test_fibres_follow_the_grid():
    """Resampled, cropped and on another domain: the tensor is that of the tissue."""
    direction = np.array([0.6, 0.0, 0.8])
    fine = uniform((6, 6, 6), (1.0,) * 3, direction)
    model = AnisotropicFisherKPP(fine, resolution_mm=2.0)
    assert model.domain.spacing == (2.0,) * 3
    expected = AnisotropicFisherKPP(fine).relative_tensor()[:, :, :3, :3, :3]
    np.testing.assert_allclose(model.relative_tensor(), expected, atol=1e-5)
    np.testing.assert_allclose(model.on(fine).relative_tensor()[:, :, :3, :3, :3], expected, atol=1e-12)
    tumor = Tumor(AnisotropicFisherKPP(fine), Regimen(), DensityField(jnp.zeros(fine.shape)), {})
    small = tumor.cropped(((1, 0, 2), (4, 3, 5))).model
    np.testing.assert_allclose(small.relative_tensor(), expected, atol=1e-12)


def test_tensors_are_turned_to_the_grid():
    """A fibre along x of patient space lies along the second axis of a grid that is turned about z."""
    affine = np.array([[0.0, 2.0, 0, 0], [-2.0, 0, 0, 0], [0, 0, 2.0, 0], [0, 0, 0, 1.0]])
    tensor = np.multiply.outer(water([1.0, 0.0, 0.0], 0.6), np.ones((2, 2, 2)))
    maps = tensor_maps(tensor, affine)
    domain = Domain(np.ones((2, 2, 2)), (2.0,) * 3, maps=maps, affine=affine)
    relative = np.asarray(AnisotropicFisherKPP(domain).relative_tensor())[..., 0, 0, 0]
    assert relative[1, 1] > 2 > 1 > relative[0, 0]
    np.testing.assert_allclose(relative - np.diag(np.diag(relative)), 0, atol=1e-12)


def test_what_is_missing_is_named():
    bare = AnisotropicFisherKPP(Domain(np.ones((3, 3)), (1.0, 1.0)))
    with pytest.raises(InputError, match="needs the domain's maps diffusion_tensor_xx"):
        bare.transport(None)
    maps = tensor_maps(np.zeros((3, 3, 4, 4)))
    del maps["diffusion_tensor_yz"]
    with pytest.raises(InputError, match="lacks the maps diffusion_tensor_yz"):
        AnisotropicFisherKPP(Domain(np.ones((4, 4)), (1.0, 1.0), maps=maps))
    with pytest.raises(InputError, match=r"shape \(3, 3, \*grid\)"):
        tensor_maps(np.zeros((6, 4, 4)))


@pytest.mark.slow
def test_gradient_in_the_anisotropy_agrees_with_differences():
    domain = uniform((8, 7), (1.0, 1.0), OBLIQUE)
    start = np.zeros((8, 7))
    start[3:5, 3:5] = 0.5

    plain = AnisotropicFisherKPP(domain, diffusivity=0.2, proliferation_rate=0.05)

    @jax.jit
    def outcome(kappa):
        model = eqx.tree_at(lambda m: m.anisotropy, plain, kappa)
        return jnp.sum(simulate(model, Regimen(), start, [10.0]).states[0] ** 2)

    kappa, step = jnp.asarray(4.0), 1e-4
    difference = (outcome(kappa + step) - outcome(kappa - step)) / (2 * step)
    np.testing.assert_allclose(jax.jit(jax.grad(outcome))(kappa), difference, rtol=1e-6)
    assert abs(float(difference)) > 1e-4
