"""Whether many solves gain from company."""

import jax

from twinjax.model import AbstractSpatialModel, AbstractTumorModel

# Voxels. On a CPU one solve of a larger grid fills the bandwidth of the memory by itself; on a GPU one of a smaller
# grid does not fill the device (32 samples: on a CPU, docs/which-solver.md, 20 x 20 x 20 voxels gain from company and
# 40 x 40 x 40 lose; on a GPU, docs/gpu.md, both gain, ninefold and more).
LARGEST_SIDE_BY_SIDE, LARGEST_SIDE_BY_SIDE_ON_GPU = 16_000, 128_000


def side_by_side(model: AbstractTumorModel) -> bool:
    """Whether many solves of it are faster together, by `jax.vmap`, than one after the other."""
    if not isinstance(model, AbstractSpatialModel):
        return True
    largest = LARGEST_SIDE_BY_SIDE_ON_GPU if jax.default_backend() == "gpu" else LARGEST_SIDE_BY_SIDE
    return model.domain.mask.size <= largest
