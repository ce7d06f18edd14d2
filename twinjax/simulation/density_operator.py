"""`DensityOperator`: a network in place of the solver, for any brain that is like those that it has seen."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from twinjax.core.errors import InputError
from twinjax.core.products import contracted
from twinjax.model import FisherKPP
from twinjax.model.growth import LogisticGrowth
from twinjax.network import Network

# Densities are known to this part of the capacity: logits end at 21.
SMALLEST = 1e-9
# Of the inputs, which then are of order one.
LOGIT_SCALE, GROWTH_SCALE, REACH_SCALE_MM, LENGTH_SCALE_MM = 10.0, 10.0, 24.0, 3.0
# What an output of 1 adds to the logit where the front has moved by `REACH_SCALE_MM`.
OUTPUT_SCALE = 10.0
# Even tissue of these diffusivities, relative to that of white matter, is shown to the network.
EVEN = (1.0, 0.3, 0.1)
FIELDS, SCALARS, OUTPUTS = 5 + len(EVEN), 3, 1 + len(EVEN)
# Below one also in single precision.
HIGHEST_GAP = 1e-5
# Where a root or a quotient would end: of D(x) relative to white matter, and of squared voxels.
SLOWEST, FEWEST_STEPS = 1e-4, 1e-3
# From here on a voxel is taken as tumour where its distance from the middle of the box is asked for.
EDGE = 0.01
# By how much, relatively, a number may leave its range: rounding.
ROUNDING = 1e-6


class Growth(NamedTuple):
    """How a tumour grows: `diffusivity` D (mm²/day, white matter), `proliferation_rate` rho (1/day), for `days`."""

    diffusivity: Float[ArrayLike, "..."]
    proliferation_rate: Float[ArrayLike, "..."]
    days: Float[ArrayLike, "..."]

    @property
    def reach(self) -> Float[Array, "..."]:
        """2 sqrt(D rho) t (mm): how far a Fisher front moves in white matter."""
        return 2 * jnp.sqrt(self.diffusivity * self.proliferation_rate) * self.days


class Box(NamedTuple):
    """The tissue that a tumour grows in: `mask`, and D(x) `relative` to that of white matter, zero outside."""

    mask: Bool[ArrayLike, "*grid"]
    relative: Float[ArrayLike, "*grid"]


class DensityOperator(eqx.Module):
    """u(x, t) from u(x, 0), D(x), rho and t in one pass of a network, for untreated `FisherKPP` in a cube of tissue.

    logit(u / K) = s + rho t + sum_c (1 / 3 + N_c) (s_c - s) + b 2 sqrt(D rho) t N_0, where s = logit(u_0 / K), and s_c
    is that of what u_0 becomes by diffusion alone where D is everywhere c times that of white matter, without tissue
    that ends. To these, with a growth of rho t, the equation comes where cells are few, and fronts of Fisher's are
    pulled by those. The network N (`twinjax.network.FourierOperator`) of s_c, u_0, D(x), the mask, rho t, 2 sqrt(D rho)
    t and sqrt(D / rho) says which of them holds where, and what differs.

    So 0 <= u <= K, u is zero outside the mask, u(0) = u_0 (to 1e-5) and without diffusion the growth is logistic,
    whatever the weights are. It is differentiable in all that goes in.

    **Fields:** `network`; `spacing` (mm) and `voxels`, an edge of the cube; `ranges`, each quantity with the lowest
    and the highest value of the training; `errors`, what it was off by on brains that it had not seen.
    """

    network: Network
    spacing: float = eqx.field(static=True)
    voxels: int = eqx.field(static=True)
    ranges: tuple[tuple[str, tuple[float, float]], ...] = eqx.field(static=True)
    errors: tuple[tuple[str, float], ...] = eqx.field(static=True, default=())

    def share(self, box: Box, share0: Float[ArrayLike, "*grid"], growth: Growth) -> Float[Array, "*grid"]:
        """u / K after the growth, from u_0 / K; nothing is checked, and all may be traced."""
        dtype = jax.tree.leaves(self.network)[0].dtype
        mask, relative, density = (jnp.asarray(leaf, dtype) for leaf in (*box, share0))
        diffusivity, rate, days = (jnp.asarray(leaf, dtype) for leaf in growth)
        start, grown = _logit(density), rate * days
        reach = Growth(diffusivity, rate, days).reach / REACH_SCALE_MM
        steps = diffusivity * days / self.spacing**2
        added = jnp.stack([_logit(spread_evenly(density, c * steps)) - start for c in EVEN], axis=-1)
        speed = jnp.sqrt(relative + SLOWEST)
        fields = jnp.stack([start / LOGIT_SCALE, density, speed, reach * speed, mask], axis=-1)
        scalars = jnp.stack([grown / GROWTH_SCALE, reach, jnp.sqrt(diffusivity / rate) / LENGTH_SCALE_MM])
        learned = self.network(jnp.concatenate([fields, added / LOGIT_SCALE], axis=-1), scalars)
        chosen = jnp.sum((1 / len(EVEN) + learned[..., 1:]) * added, axis=-1)
        return mask * jax.nn.sigmoid(start + grown + chosen + OUTPUT_SCALE * reach * learned[..., 0])

    def density(self, model: FisherKPP, state0: Float[Array, "*grid"], days: ArrayLike) -> Float[Array, "*grid"]:
        """u after `days`, from `state0` on the model's grid; nothing is checked, and all may be traced."""
        growth = Growth(model.diffusivity, model.proliferation_rate, jnp.asarray(days, float))
        return model.carrying_capacity * self.share(box_of(model), state0 / model.carrying_capacity, growth)

    def predict(self, model: FisherKPP, state0: Float[Array, "*grid"], days: float) -> Float[Array, "*grid"]:
        """As `density`, with `InputError` for all that it was not trained for."""
        if not (isinstance(model, FisherKPP) and isinstance(model.growth, LogisticGrowth)):
            raise InputError("the operator network knows FisherKPP with logistic growth; ask the solver (simulate)")
        if jnp.ndim(model.diffusivity) or jnp.ndim(model.proliferation_rate):
            raise InputError("the operator network takes a diffusivity and a rate that are numbers; ask the solver")
        domain, wanted = model.domain, (self.voxels,) * 3
        if domain.shape != wanted or not np.allclose(domain.spacing, self.spacing, rtol=1e-3):
            raise InputError(
                f"the operator network works on {self.voxels}³ voxels of {self.spacing:g} mm, not on {domain.shape} "
                f"of {domain.spacing} mm: Domain.cube_about brings one there"
            )
        if np.shape(state0) != wanted:
            raise InputError(f"state0 has shape {np.shape(state0)}, the model's grid {wanted}")
        ranges = dict(self.ranges)
        for name, value in described(model, state0, days).items():
            low, high = ranges[name]
            slack = ROUNDING * max(abs(low), abs(high))
            if not low - slack <= value <= high + slack:
                raise InputError(
                    f"{name} = {value:.4g}: the operator network was trained from {low:.4g} to {high:.4g} and does "
                    "not extrapolate; ask the solver (simulate), or train it on a wider range"
                )
        return self.density(model, state0, days)


def spread_evenly(share: Float[Array, "*grid"], steps: Float[Array, ""]) -> Float[Array, "*grid"]:
    """What diffusion makes of it in even tissue between walls without flux, after D t = `steps` squared voxels.

    By sums of positive numbers, so that what is far below one is right too.
    """
    for axis, size in enumerate(share.shape):
        place = jnp.arange(size)
        images = place[:, None] - jnp.stack([place, -1 - place, 2 * size - 1 - place])[:, None, :]
        kernel = jnp.sum(jnp.exp(-(images.astype(share.dtype) ** 2) / (4 * steps + FEWEST_STEPS)), axis=0)
        share = jnp.moveaxis(
            contracted(kernel / jnp.sum(kernel, axis=1, keepdims=True), share, axes=(1, axis)), 0, axis
        )
    return share


def _logit(share: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
    return jsp.logit(jnp.clip(share, SMALLEST, 1 - HIGHEST_GAP))


def box_of(model: FisherKPP) -> Box:
    """What the network sees of a model's tissue."""
    return Box(model.domain.mask, model.diffusivity_map() / model.diffusivity * model.domain.mask)


def described(model: FisherKPP, state0: Float[ArrayLike, "*grid"], days: float) -> dict[str, float]:
    """The quantities whose range is known of a training.

    `initial_radius` (mm) is that of a ball with as many cells, `initial_extent` (mm) how far from the middle of the
    box there are cells, `tissue` the share of the box that is tissue, `highest_density` relative to the capacity.
    """
    growth = Growth(model.diffusivity, model.proliferation_rate, jnp.asarray(days, float))
    domain, share = model.domain, np.asarray(state0) / float(model.carrying_capacity)
    index = np.indices(domain.shape) - np.reshape(domain.shape, (-1, 1, 1, 1)) / 2 + 0.5
    far = np.sqrt(((index * np.reshape(domain.spacing, (-1, 1, 1, 1))) ** 2).sum(axis=0))
    return {
        "diffusivity": float(model.diffusivity),
        "proliferation_rate": float(model.proliferation_rate),
        "white_grey_ratio": float(model.white_grey_ratio),
        "days": float(days),
        "reach": float(growth.reach),
        "initial_radius": float((3 * share.sum() * domain.voxel_volume / (4 * np.pi)) ** (1 / 3)),
        "initial_extent": float(np.max(far, where=share > EDGE, initial=0.0)),
        "highest_density": float(share.max()),
        "tissue": float(np.mean(np.asarray(domain.mask))),
    }
