"""twinjax's diffusion operator for those that it is compared with: its faces on the grid, and a fused numba kernel."""

import numba
import numpy as np


def faces_on_grid(operator, shape) -> list[np.ndarray]:
    """The faces of the operator (1/day), one array for each axis, each face at the voxel below it."""
    scale = float(operator.scale)
    return [np.asarray(scale * face[operator.strides[0] :]).reshape(shape) for face in operator.faces]


@numba.njit(inline="always")
def inflow(u, x, y, z, i, j, k):
    """What diffusion brings to a voxel in a day; all arrays are padded by one voxel."""
    here = u[i, j, k]
    return (
        x[i, j, k] * (u[i + 1, j, k] - here)
        + x[i - 1, j, k] * (u[i - 1, j, k] - here)
        + y[i, j, k] * (u[i, j + 1, k] - here)
        + y[i, j - 1, k] * (u[i, j - 1, k] - here)
        + z[i, j, k] * (u[i, j, k + 1] - here)
        + z[i, j, k - 1] * (u[i, j, k - 1] - here)
    )
