"""Diffusion tensor images as the usual software writes them."""

from pathlib import Path

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.nifti import read_nifti

# The order of the six volumes.
ORDERS = {"mrtrix": ("xx", "yy", "zz", "xy", "xz", "yz"), "fsl": ("xx", "xy", "xz", "yy", "yz", "zz")}


def read_diffusion_tensor(path: str | Path, convention: str) -> tuple[np.ndarray, np.ndarray]:
    """Water's diffusion tensors of a NIfTI file of six volumes, along the axes of patient space (RAS).

    `convention`: `"mrtrix"` (`dwi2tensor`: along scanner axes) or `"fsl"` (`dtifit --save_tensor`: voxel axes, the
    first reversed where the affine has a positive determinant).

    **Returns** `(tensor, affine)`: (3, 3, X, Y, Z) in the unit of the file and (4, 4) in mm. Raises `InputError` for a
    file that `read_nifti` refuses, another number of volumes or an unknown convention.
    """
    if convention not in ORDERS:
        raise InputError(f"the convention '{convention}' of tensors is unknown; choose one of {', '.join(ORDERS)}")
    image = read_nifti(path, axes=4)
    if image.data.shape[-1] != 6:
        raise InputError(f"{Path(path).name} has {image.data.shape[-1]} volumes; a diffusion tensor has 6")
    tensor = np.empty((3, 3, *image.data.shape[:3]), np.float32)
    for volume, name in enumerate(ORDERS[convention]):
        a, b = ("xyz".index(letter) for letter in name)
        tensor[a, b] = tensor[b, a] = image.data[..., volume]
    if convention == "fsl":
        axes = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
        if np.linalg.det(axes) > 0:
            axes = axes * [-1, 1, 1]
        tensor = np.einsum("ai,ij...,bj->ab...", axes, tensor, axes).astype(np.float32)
    return tensor, image.affine
