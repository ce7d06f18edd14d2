"""A cohort: a bad patient does not stop the others, and a second run does only what is missing."""

import pytest
from phantom import write_visit

from twinjax.core.errors import InputError
from twinjax.imaging import ImagingPipeline
from twinjax.imaging.cohort import process_cohort

MODALITIES = ["T1", "T1CE", "T2", "FLAIR"]


def test_a_cohort_survives_and_resumes(tmp_path, monkeypatch):
    for name in ("A", "B", "C"):
        write_visit(tmp_path / "raw" / name / "day_0000")
    (tmp_path / "raw" / "B" / "day_0000" / "T2.nii.gz").unlink()
    pipeline, processed = ImagingPipeline(MODALITIES, registration="none"), []
    process = pipeline.process
    monkeypatch.setattr(pipeline, "process", lambda path, out: processed.append(path.name) or process(path, out))
    rows = process_cohort(pipeline, tmp_path / "raw", tmp_path / "out")
    assert [(row["patient"], row["state"]) for row in rows] == [("A", "done"), ("B", "failed"), ("C", "done")]
    assert "T2 missing" in rows[1]["message"]
    assert processed == ["A", "B", "C"]
    # B is mended, C has changed, and the results of A are there.
    write_visit(tmp_path / "raw" / "B" / "day_0000")
    write_visit(tmp_path / "raw" / "C" / "day_0000", core_mm=8.0)
    processed.clear()
    rows = process_cohort(pipeline, tmp_path / "raw", tmp_path / "out")
    assert processed == ["B", "C"] and all(row["state"] == "done" for row in rows)
    processed.clear()
    assert process_cohort(pipeline, tmp_path / "raw", tmp_path / "out") == rows and not processed


def test_an_empty_cohort_is_refused(tmp_path):
    with pytest.raises(InputError, match="no patient folders"):
        process_cohort(ImagingPipeline(MODALITIES), tmp_path, tmp_path / "out")
