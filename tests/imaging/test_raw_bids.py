"""A subject of a BIDS data set as a raw patient folder."""

import numpy as np
import pytest
from phantom import anatomy, grid, images

from twinjax.core.errors import InputError
from twinjax.imaging import ImagingPipeline, write_nifti
from twinjax.imaging.raw_folder import find_files, raw_visits

NAMES = {"T1": "T1w", "T1CE": "ce-gadolinium_T1w", "T2": "T2w", "FLAIR": "FLAIR"}


def write_session(folder, session, **kwargs):
    (folder / "anat").mkdir(parents=True)
    affine, shape = grid()
    made = images(affine, shape, names=tuple(NAMES), **kwargs)
    for name, suffix in NAMES.items():
        write_nifti(folder / "anat" / f"sub-01_{session}_{suffix}.nii.gz", made[name], affine)
    head = anatomy(affine, shape)[0] > 0
    write_nifti(folder / "anat" / f"sub-01_{session}_desc-brain_mask.nii.gz", head, affine)
    for name in ("white_matter", "grey_matter"):
        write_nifti(folder / "anat" / f"sub-01_{session}_{name}.nii.gz", (0.5 * head).astype(np.float32), affine)


@pytest.fixture
def subject(tmp_path):
    root = tmp_path / "sub-01"
    write_session(root / "ses-01", "ses-01", core_mm=7.0)
    write_session(root / "ses-02", "ses-02", core_mm=9.0, seed=1)
    (root / "sub-01_sessions.tsv").write_text(
        "session_id\tacq_time\nses-02\t2024-03-01T09:30:00\nses-01\t2024-02-01T10:00:00\n"
    )
    return root


def test_sessions_become_days(subject, tmp_path):
    assert [(v.day, v.name, v.folder.name) for v in raw_visits(subject)] == [
        (0.0, "day_0000", "ses-01"),
        (29.0, "day_0029", "ses-02"),
    ]
    found = find_files(subject / "ses-01", subject)
    assert {name: found[name].name for name in ("T1", "T1CE")} == {
        "T1": "sub-01_ses-01_T1w.nii.gz",
        "T1CE": "sub-01_ses-01_ce-gadolinium_T1w.nii.gz",
    }
    processed = ImagingPipeline(list(NAMES), registration="none").process(subject, tmp_path / "out")
    assert [day for day, _ in processed["visits"]] == [0.0, 29.0]
    assert (tmp_path / "out" / "day_0029" / "T1CE.nii.gz").is_file()
    text = (tmp_path / "out" / "imaging.json").read_text()
    assert "2024" not in text and "sub-01" not in text


def test_one_session_needs_no_table(subject):
    import shutil

    shutil.rmtree(subject / "ses-02")
    (subject / "sub-01_sessions.tsv").unlink()
    assert [(v.day, v.folder.name) for v in raw_visits(subject)] == [(0.0, "ses-01")]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "no sub-01_sessions.tsv"),
        ("session_id\tacq_time\nses-01\t2024-02-01\n", "tells no time of ses-02"),
        ("session_id\tacq_time\nses-01\tn/a\nses-02\t2024-02-01\n", "needs session_id and acq_time"),
        ("session_id\tdays_since_baseline\nses-01\t4\nses-02\t4\n", "of the same day"),
    ],
)
def test_sessions_without_a_day_are_refused(subject, table, message):
    path = subject / "sub-01_sessions.tsv"
    path.unlink() if table is None else path.write_text(table)
    with pytest.raises(InputError, match=message):
        raw_visits(subject)


def test_names_can_be_given(tmp_path):
    (tmp_path / "x_postcontrast.nii.gz").touch()
    assert find_files(tmp_path, tmp_path) == {}
    assert list(find_files(tmp_path, tmp_path, {"T1CE": ["postcontrast"]})) == ["T1CE"]
    with pytest.raises(InputError, match="file_names: 'T9' is unknown"):
        ImagingPipeline(["T1", "T1CE", "T2", "FLAIR"], file_names={"T9": ["t9"]})
