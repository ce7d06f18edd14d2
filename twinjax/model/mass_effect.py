"""Mass effect: how far a tumour of the brain pushes the tissue around it."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.domain.elasticity import POISSON_RATIO, ElasticResponse, ElasticTissue

# Young's moduli (kPa): brain tissue, ventricles and fissures, tumour. Textbook values in models of glioma with mass
# effect (Hogea et al. 2008, J Math Biol 56:793; Subramanian et al. 2019, J Math Biol 79:941).
TISSUE_STIFFNESS, FLUID_STIFFNESS, TUMOR_STIFFNESS = 2.1, 0.1, 8.0
# Pressure (kPa) of the densest packing: our own choice; it moves the brain by some millimetres.
PRESSURE = 1.0


def mass_effect(
    density: Float[Array, "*grid"],
    domain: Domain,
    skull=None,
    *,
    pressure_kpa: ArrayLike = PRESSURE,
) -> ElasticResponse:
    """Displacement (mm), strain and stress (kPa) of a brain by the cells in it.

    Linear elasticity under the pressure `pressure_kpa` times the cell density, quasi-static, as in Hogea et al. 2008;
    the tissue is not carried along with it, so it serves to show the displacement, up to some millimetres, and not to
    forecast where cells go. Stiffness is mixed by density between brain and tumour.

    **Arguments:** `density` on the grid of `domain`; `skull`, all that lies within it (bool): where it is True and the
    domain has no tissue is cerebrospinal fluid, soft, and its boundary does not move. Without it the domain's mask,
    fluid not included, which is then held at the ventricles too.
    """
    mask = domain.mask if skull is None else jnp.asarray(skull) | domain.mask
    if mask.shape != density.shape:
        raise InputError(f"the density has shape {density.shape}, the brain {mask.shape}; bring both to one grid")
    healthy = jnp.where(domain.mask, TISSUE_STIFFNESS, FLUID_STIFFNESS)
    share = jnp.clip(density, 0.0, 1.0)
    stiffness = healthy + share * (TUMOR_STIFFNESS - healthy)
    tissue = ElasticTissue(stiffness, mask, domain.spacing, poisson_ratio=POISSON_RATIO)
    return tissue.response(jnp.asarray(pressure_kpa, float) * density)


def midline_shift(response: ElasticResponse, domain: Domain, skull=None) -> float:
    """The largest displacement (mm, absolute) across the plane between the halves of the brain.

    The plane is that through the centre of `skull` (default: the domain's mask) normal to the grid's axis that runs
    from left to right: the first of patient space, or the grid's own without an affine.
    """
    inside = np.asarray(domain.mask if skull is None else skull)
    axis = 0 if domain.affine is None else int(np.argmax(np.abs(domain.affine[0, : inside.ndim])))
    middle = int(np.round(np.mean(np.nonzero(inside)[axis])))
    across = np.take(np.asarray(response.voxel_displacement)[axis], middle, axis)
    return float(np.abs(np.where(np.take(inside, middle, axis), across, 0.0)).max())
