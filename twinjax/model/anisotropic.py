"""Reaction-diffusion of tumour cells that move along white-matter fibres (diffusion tensor imaging)."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.domain import Domain, anisotropic_diffusion
from twinjax.model.density import AbstractDensityModel, front_reach
from twinjax.model.fisher_kpp import GLIOMA_LEAVES_OUT, FisherKPP
from twinjax.model.growth import AbstractGrowth, growth_law
from twinjax.model.model import placed

COMPONENTS = ("xx", "xy", "xz", "yy", "yz", "zz")
# Below this concentration the share across the fibre is taken from its series.
_SERIES = 0.3


class AnisotropicFisherKPP(AbstractDensityModel):
    """du/dt = div(D(x) grad u) + rho u (1 - u / K) - k(t) u with a diffusion tensor D(x), zero flux at the wall.

    D(x) = D_w (w(x) T(x) + g(x) / r I), with the fractions w and g of white and grey matter as in `FisherKPP` and a
    tensor T of mean diffusivity 1. T is that of Painter and Hillen 2013 (J Theor Biol 323:25, section 3): cells follow
    the fibre direction e of the voxel with a bimodal von Mises-Fisher distribution of concentration c = kappa FA,

        T = 3 (q I + (1 - 3 q) e e'),  q = (coth(c) - 1 / c) / c,

    FA being the fractional anisotropy of water. kappa = 0 gives the isotropic model. The default kappa 10 is our own
    choice: cells then move 4 times as fast along as across a fibre of FA 0.5, 7 times at FA 0.8.

    The domain has the tensor of water in its maps `diffusion_tensor_xx`, `_xy`, `_xz`, `_yy`, `_yz` and `_zz`, along
    the axes of the grid and in any unit (`tensor_maps` makes them); a grid of two axes is a slice. A voxel without a
    tensor is isotropic.

    **Fields:** `diffusivity` D_w (mm²/day; the mean over directions), `white_grey_ratio` r, `proliferation_rate` rho
    (1/day), `carrying_capacity` K, `anisotropy` kappa, `growth`, `domain`; `fractional_anisotropy` and `fibre`, the six
    components of e e', are derived from the domain. The state is the cell density on the grid, in [0, K] but for
    undershoots of the operator ahead of a front that the grid does not resolve. Raises `InputError` on first use where
    the domain has no tensor.
    """

    leaves_out: ClassVar = GLIOMA_LEAVES_OUT
    domain: Domain
    diffusivity: Float[Array, ""]
    white_grey_ratio: Float[Array, ""]
    proliferation_rate: Float[Array, ""]
    carrying_capacity: Float[Array, ""]
    anisotropy: Float[Array, ""]
    growth: AbstractGrowth
    fractional_anisotropy: Float[Array, "*grid"] | None
    fibre: dict[str, Float[Array, "*grid"]]

    def __init__(
        self,
        domain: Domain,
        *,
        resolution_mm: float | None = None,
        diffusivity: ArrayLike = 0.1,
        white_grey_ratio: ArrayLike = 10.0,
        proliferation_rate: ArrayLike = 0.03,
        carrying_capacity: ArrayLike = 1.0,
        anisotropy: ArrayLike = 10.0,
        growth: str | AbstractGrowth = "logistic",
    ):
        """`resolution_mm` brings the domain, tensor and all, to an isotropic grid of that voxel edge first."""
        self.domain = placed(domain, resolution_mm)
        self.diffusivity = jnp.asarray(diffusivity, float)
        self.white_grey_ratio = jnp.asarray(white_grey_ratio, float)
        self.proliferation_rate = jnp.asarray(proliferation_rate, float)
        self.carrying_capacity = jnp.asarray(carrying_capacity, float)
        self.anisotropy = jnp.asarray(anisotropy, float)
        self.growth = growth_law(growth)
        self.fractional_anisotropy, self.fibre = _fibres(self.domain)

    @property
    def isotropic(self) -> FisherKPP:
        """The same tumour without regard to fibres."""
        return FisherKPP(
            self.domain,
            diffusivity=self.diffusivity,
            white_grey_ratio=self.white_grey_ratio,
            proliferation_rate=self.proliferation_rate,
            carrying_capacity=self.carrying_capacity,
            growth=self.growth,
        )

    def on(self, domain: Domain) -> "AnisotropicFisherKPP":
        return eqx.tree_at(
            lambda model: (model.domain, model.fractional_anisotropy, model.fibre),
            self,
            (domain, *_fibres(domain)),
            is_leaf=lambda leaf: leaf is None,
        )

    def relative_tensor(self) -> Float[Array, "axes axes *grid"]:
        """D(x) / D_w along the axes of the grid; `InputError` where the domain has no tensor."""
        if self.fractional_anisotropy is None:
            raise InputError(
                f"{type(self).__name__} needs the domain's maps diffusion_tensor_xx, _xy, _xz, _yy, _yz and _zz; "
                "give Domain(..., maps=tensor_maps(tensor)), or choose FisherKPP"
            )
        across = share_across(self.anisotropy * self.fractional_anisotropy)
        white = self.domain.white_matter
        even = 3 * across * white + self.domain.grey_matter / self.white_grey_ratio
        aligned = 3 * (1 - 3 * across) * white
        axes = range(len(self.domain.shape))
        fibre = {(a, b): self.fibre["xyz"[min(a, b)] + "xyz"[max(a, b)]] for a in axes for b in axes}
        return jnp.stack([jnp.stack([aligned * fibre[a, b] + (even if a == b else 0.0) for b in axes]) for a in axes])

    def transport(self, open_tissue):
        mask = self.domain.open_mask(open_tissue)
        return anisotropic_diffusion(self.relative_tensor(), mask, self.domain.spacing, scale=self.diffusivity)

    def vector_field(self, t, state, forcing):
        return self.reaction(state, forcing.kill_rate) + forcing.transport(state)

    def reaction(self, density, kill_rate):
        return self.isotropic.reaction(density, kill_rate)

    def reaction_flow(self, state, duration, kills, levels):
        return self.isotropic.reaction_flow(state, duration, kills, levels)

    def spread(self, state, steps, duration, diffuse):
        return diffuse(steps, state)

    def reach(self, duration):
        # Along a fibre of FA 1.
        fastest = 3 * (1 - 2 * share_across(self.anisotropy))
        return front_reach(self.diffusivity * fastest, self.proliferation_rate, duration)


def share_across(concentration: Array) -> Array:
    """q = (coth(c) - 1 / c) / c: the share of movement along an axis across the fibre, 1/3 at c = 0.

    Painter and Hillen 2013 (J Theor Biol 323:25), for the bimodal von Mises-Fisher distribution in three dimensions.
    """
    c = jnp.abs(concentration)
    near = c < _SERIES
    square = jnp.where(near, c, 0.0) ** 2
    safe = jnp.where(near, 1.0, c)
    series = 1 / 3 - square / 45 + 2 * square**2 / 945 - square**3 / 4725 + 2 * square**4 / 93555
    return jnp.where(near, series, (1 / jnp.tanh(safe) - 1 / safe) / safe)


def tensor_maps(tensor: np.ndarray, affine: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The maps of a domain from water's diffusion tensors (3, 3, *grid) in any unit.

    With the grid's `affine` ((4, 4), mm) the tensors are taken to lie along the axes of patient space, as scanners and
    most software give them, and are turned to those of the grid; without it they lie along the axes of the grid.
    Raises `InputError` for another shape.
    """
    tensor = np.asarray(tensor, float)
    if tensor.ndim < 3 or tensor.shape[:2] != (3, 3):
        raise InputError(f"diffusion tensors have the shape (3, 3, *grid), got {tensor.shape}")
    tensor = (tensor + np.swapaxes(tensor, 0, 1)) / 2
    if affine is not None:
        axes = np.asarray(affine, float)[:3, :3]
        axes = axes / np.linalg.norm(axes, axis=0)
        tensor = np.einsum("ia,ij...,jb->ab...", axes, tensor, axes)
    return {f"diffusion_tensor_{name}": tensor["xyz".index(name[0]), "xyz".index(name[1])] for name in COMPONENTS}


def _fibres(domain: Domain) -> tuple[Array | None, dict[str, Array]]:
    """Fractional anisotropy and the components of e e' of a domain; None and zeros without a tensor."""
    present = [name for name in COMPONENTS if f"diffusion_tensor_{name}" in domain.maps]
    if not present:
        return None, {name: jnp.zeros(domain.shape) for name in COMPONENTS}
    missing = [f"diffusion_tensor_{name}" for name in COMPONENTS if name not in present]
    if missing:
        raise InputError(f"the domain's diffusion tensor lacks the maps {', '.join(missing)}; see tensor_maps")
    maps = {name: np.asarray(domain.map(f"diffusion_tensor_{name}"), float) for name in COMPONENTS}
    known = np.any([array != 0 for array in maps.values()], axis=0)
    rows = [[maps[min(a, b) + max(a, b)][known] for b in "xyz"] for a in "xyz"]
    tensors = np.moveaxis(np.asarray(rows), (0, 1), (-2, -1))
    values, vectors = np.linalg.eigh(tensors)
    deviation = np.linalg.norm(values - values.mean(-1, keepdims=True), axis=-1)
    anisotropy = np.zeros(domain.shape)
    # Noise makes eigenvalues negative, and FA larger than 1.
    anisotropy[known] = np.minimum(np.sqrt(1.5) * deviation / np.linalg.norm(values, axis=-1), 1.0)
    fibre = {}
    for name in COMPONENTS:
        a, b = ("xyz".index(letter) for letter in name)
        product = np.zeros(domain.shape)
        product[known] = vectors[:, a, -1] * vectors[:, b, -1]
        fibre[name] = jnp.asarray(product, float)
    return jnp.asarray(anisotropy, float), fibre
