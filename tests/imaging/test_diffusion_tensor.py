"""Diffusion tensors from files: the order of volumes and the axes that they lie along."""

import nibabel as nib
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.imaging import read_diffusion_tensor
from twinjax.imaging.diffusion_tensor import ORDERS

TURNED = np.array([[0.0, 2.0, 0, 5], [2.0, 0, 0, 0], [0, 0, 2.0, 0], [0, 0, 0, 1.0]])
TENSOR = np.array([[1.0, 0.2, 0.3], [0.2, 0.5, 0.1], [0.3, 0.1, 0.4]])


def written(folder, convention, tensor, affine, volumes=6):
    names = ORDERS[convention][:volumes]
    values = [tensor["xyz".index(a), "xyz".index(b)] for a, b in names]
    data = np.multiply.outer(np.ones((2, 3, 2)), values).astype(np.float32)
    path = folder / "tensor.nii.gz"
    nib.Nifti1Image(data, affine).to_filename(path)
    return path


def test_scanner_axes_are_those_of_patient_space(tmp_path):
    tensor, affine = read_diffusion_tensor(written(tmp_path, "mrtrix", TENSOR, TURNED), "mrtrix")
    assert tensor.shape == (3, 3, 2, 3, 2)
    np.testing.assert_allclose(tensor[..., 1, 2, 0], TENSOR, rtol=1e-6)
    np.testing.assert_allclose(affine, TURNED)


@pytest.mark.parametrize("flip", [1, -1])
def test_voxel_axes_are_turned(tmp_path, flip):
    """A grid whose first axis runs along y of patient space, with either handedness."""
    affine = TURNED @ np.diag([1.0, 1.0, flip, 1.0])
    # The determinant of the exchange of two axes is negative.
    first = -1.0 if flip < 0 else 1.0
    axes = affine[:3, :3] / 2 * [first, 1, 1]
    tensor, _ = read_diffusion_tensor(written(tmp_path, "fsl", TENSOR, affine), "fsl")
    np.testing.assert_allclose(tensor[..., 0, 0, 0], axes @ TENSOR @ axes.T, rtol=1e-6)
    assert abs(tensor[0, 0, 0, 0, 0] - TENSOR[1, 1]) < 1e-6


def test_what_is_no_tensor_is_refused(tmp_path):
    with pytest.raises(InputError, match="5 volumes; a diffusion tensor has 6"):
        read_diffusion_tensor(written(tmp_path, "fsl", TENSOR, TURNED, volumes=5), "fsl")
    with pytest.raises(InputError, match="convention 'dipy'"):
        read_diffusion_tensor(tmp_path / "tensor.nii.gz", "dipy")
    plain = tmp_path / "plain.nii.gz"
    nib.Nifti1Image(np.ones((2, 2, 2), np.float32), TURNED).to_filename(plain)
    with pytest.raises(InputError, match="3 axes .* 4 are expected"):
        read_diffusion_tensor(plain, "mrtrix")
