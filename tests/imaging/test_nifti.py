"""Every bad file ends in one InputError that names it."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.imaging import read_nifti, write_nifti

AFFINE = np.array([[1.2, 0, 0, -10], [0, 0.9, 0.1, 5], [0, -0.1, 2.5, 7], [0, 0, 0, 1.0]])
DATA = np.arange(6 * 5 * 4, dtype=np.float32).reshape(6, 5, 4)


def save(path, data=DATA, affine=AFFINE, *, sform=None, header=None):
    image = nib.Nifti1Image(data, affine)
    if sform is not None:
        image.set_qform(affine, 1)
        image.set_sform(sform, 1)
    for key, value in (header or {}).items():
        image.header[key] = value
    nib.save(image, path)
    return path


def patched(path, offset, content):
    """Overwrite header bytes, which nibabel itself would not let through."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[offset : offset + len(content)] = content
    path.write_bytes(gzip.compress(bytes(raw)))
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_write_and_read_give_the_array_and_the_affine(tmp_path, name):
    write_nifti(tmp_path / name, DATA, AFFINE)
    image = read_nifti(tmp_path / name)
    assert image.data.dtype == np.float32
    np.testing.assert_array_equal(image.data, DATA)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("array", [DATA > 5, (DATA % 4).astype(np.int16)])
def test_labels_are_written_as_int8(tmp_path, array):
    write_nifti(tmp_path / "a.nii.gz", array, AFFINE)
    image = read_nifti(tmp_path / "a.nii.gz")
    assert image.data.dtype == np.int8
    np.testing.assert_array_equal(image.data, array)


def test_integers_beyond_int8_keep_their_values(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", (DATA * 30).astype(np.int16), AFFINE)
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii.gz").data, DATA * 30)


def test_written_header_has_no_text_and_no_time(tmp_path):
    path = write_nifti(tmp_path / "Jane_Doe.nii.gz", DATA, AFFINE)
    header = nib.load(path).header
    assert all(bytes(header[key]).strip(b"\0") == b"" for key in ("descrip", "db_name", "aux_file", "intent_name"))
    raw = path.read_bytes()
    assert b"Jane" not in raw and raw[4:8] == b"\0\0\0\0"


def test_sheared_affine_survives(tmp_path):
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.4
    write_nifti(tmp_path / "a.nii.gz", DATA, sheared)
    np.testing.assert_allclose(read_nifti(tmp_path / "a.nii.gz").affine, sheared, atol=1e-5)


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = write_nifti(tmp_path / "a.nii.gz", DATA, AFFINE)
    before = path.read_bytes()
    with pytest.raises(InputError, match="a.nii.gz"):
        write_nifti(path, np.full((3, 3, 3), np.nan), AFFINE)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize(
    ("array", "affine"), [(DATA[0], AFFINE), (DATA[:0], AFFINE), (DATA, np.zeros((4, 4))), (DATA, AFFINE[:3])]
)
def test_write_refuses_bad_shapes_and_affines(tmp_path, array, affine):
    with pytest.raises(InputError, match="a.nii.gz"):
        write_nifti(tmp_path / "a.nii.gz", array, affine)


def test_integers_stay_integers_and_scaling_gives_float(tmp_path):
    plain = save(tmp_path / "plain.nii.gz", DATA.astype(np.int16))
    assert read_nifti(plain).data.dtype == np.int16
    scaled = patched(save(tmp_path / "scaled.nii.gz", DATA.astype(np.int16)), 112, struct.pack("<ff", 0.5, 1.0))
    assert read_nifti(scaled).data.dtype == np.float32
    np.testing.assert_allclose(read_nifti(scaled).data, DATA * 0.5 + 1)


def test_trailing_axes_of_one_are_dropped(tmp_path):
    assert read_nifti(save(tmp_path / "a.nii.gz", DATA[..., None, None])).data.shape == DATA.shape


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="a.nii.gz does not exist"):
        read_nifti(tmp_path / "a.nii.gz")


def test_other_format(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"DICM")
    with pytest.raises(InputError, match="a.dcm is no NIfTI"):
        read_nifti(tmp_path / "a.dcm")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\0" * 400, gzip.compress(b"\0" * 100, mtime=0)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_what_is_no_nifti(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} is corrupt"):
        read_nifti(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated(tmp_path, name):
    path = save(tmp_path / name)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=f"{name} is corrupt or truncated"):
        read_nifti(path)


def test_damaged_compression(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).random((9, 9, 9)))
    raw = bytearray(path.read_bytes())
    raw[600:620] = b"\xff" * 20
    path.write_bytes(bytes(raw))
    with pytest.raises(InputError, match="a.nii.gz is corrupt"):
        read_nifti(path)


@pytest.mark.parametrize(
    ("offset", "content", "message"),
    [
        (42, struct.pack("<hhh", 32767, 32767, 32767), "claims .* voxels"),
        (42, struct.pack("<hhh", 800, 800, 700), "corrupt or truncated"),
        (42, struct.pack("<hhh", -6, 5, 4), "a.nii.gz"),
        (42, struct.pack("<hhh", 0, 5, 4), "a.nii.gz"),
        (70, struct.pack("<h", 999), "a.nii.gz"),
        (70, struct.pack("<h", 128), "save it as integers or float32"),
        (108, struct.pack("<f", 1e12), "a.nii.gz"),
        (108, struct.pack("<f", float("nan")), "a.nii.gz"),
    ],
    ids=[
        "absurd shape",
        "shape beyond file",
        "negative",
        "zero",
        "unknown dtype",
        "colours",
        "far offset",
        "nan offset",
    ],
)
def test_hostile_headers_are_refused_before_allocation(tmp_path, offset, content, message):
    path = patched(save(tmp_path / "a.nii.gz"), offset, content)
    with pytest.raises(InputError, match=message):
        read_nifti(path)


def test_gzip_bomb_is_not_unpacked(tmp_path):
    raw = bytearray(gzip.decompress(save(tmp_path / "a.nii.gz").read_bytes()))
    # A header extension that claims all of what follows.
    raw[108:112] = struct.pack("<f", 352 + 2**26)
    raw[348:352] = b"\1\0\0\0"
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(raw[:352]) + struct.pack("<ii", 2**26, 0) + b"\0" * 2**26))
    with pytest.raises(InputError, match="a.nii.gz"):
        read_nifti(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path, value):
    data = DATA.copy()
    data[1, 2, 3] = value
    with pytest.raises(InputError, match="a.nii.gz has 1 NaN or infinite"):
        read_nifti(save(tmp_path / "a.nii.gz", data))


def test_doubles_beyond_float32_are_infinite(tmp_path):
    data = DATA.astype(float)
    data[0, 0, 0] = 1e300
    with pytest.raises(InputError, match="infinite"):
        read_nifti(save(tmp_path / "a.nii.gz", data))


@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (6, 5)])
def test_wrong_number_of_axes(tmp_path, shape):
    with pytest.raises(InputError, match="3 are expected"):
        read_nifti(save(tmp_path / "a.nii.gz", np.ones(shape, np.float32)))


@pytest.mark.parametrize("change", ["zero", "nan", "flat"])
def test_singular_affine(tmp_path, change):
    sform = AFFINE.copy()
    if change == "zero":
        sform[:3, :3] = 0
    elif change == "nan":
        sform[1, 1] = np.nan
    else:
        sform[:3, 2] = sform[:3, 1]
    path = patched(save(tmp_path / "a.nii.gz"), 280, struct.pack("<12f", *sform[:3].ravel()))
    with pytest.raises(InputError, match="a.nii.gz"):
        read_nifti(path)


def test_qform_against_sform(tmp_path):
    shifted = AFFINE.copy()
    shifted[0, 3] += 20
    with pytest.raises(InputError, match="qform and sform differ by 20.0 mm"):
        read_nifti(save(tmp_path / "a.nii.gz", sform=shifted))


def test_qform_that_agrees_within_rounding(tmp_path):
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.01
    assert read_nifti(save(tmp_path / "a.nii.gz", sform=shifted)).affine[0, 3] == pytest.approx(-9.99)


def test_paths_out_of_the_root_are_refused(tmp_path):
    (tmp_path / "patient").mkdir()
    outside = save(tmp_path / "outside.nii.gz")
    (tmp_path / "patient" / "link.nii.gz").symlink_to(outside)
    inside = save(tmp_path / "patient" / "inside.nii.gz")
    assert read_nifti(inside, root=tmp_path / "patient").data.shape == DATA.shape
    for path in (outside, tmp_path / "patient" / ".." / "outside.nii.gz", tmp_path / "patient" / "link.nii.gz"):
        with pytest.raises(InputError, match="leads out of the patient folder"):
            read_nifti(path, root=tmp_path / "patient")


def test_second_version_of_the_format(tmp_path):
    nib.save(nib.Nifti2Image(DATA, AFFINE), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii.gz").data, DATA)


def test_several_volumes_are_written_and_read_by_four_axes(tmp_path):
    volumes = np.stack([DATA, DATA + 0.5], axis=-1)
    write_nifti(tmp_path / "a.nii.gz", volumes, AFFINE, axes=4)
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii.gz", axes=4).data, volumes)
    with pytest.raises(InputError, match="an array of 3 axes"):
        write_nifti(tmp_path / "b.nii.gz", volumes, AFFINE)
