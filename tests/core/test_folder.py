"""Folders: one job at a time, and a word that tells whether files have changed."""

import os
import subprocess
import sys

import pytest

from twinjax.core.errors import InputError
from twinjax.core.folder import only_job_in, signature

HOLD = """
import sys, time
from twinjax.core.folder import only_job_in
with only_job_in(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_jobs_do_not_share_a_folder(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another job is writing to .* another folder"), only_job_in(tmp_path):
            pass
    finally:
        # However it ends, the folder is free again.
        other.kill()
        other.wait()
        other.stdout.close()
    with only_job_in(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"), only_job_in(tmp_path / "file" / "folder"):
        pass


def test_a_signature_changes_with_the_files(tmp_path):
    (tmp_path / "day_0000").mkdir()
    image = tmp_path / "day_0000" / "T1.nii.gz"
    image.write_bytes(b"1")
    (tmp_path / "notes.txt").write_text("a")
    both, images = signature(tmp_path), signature(tmp_path, (".nii.gz",))
    (tmp_path / "notes.txt").write_text("ab")
    assert signature(tmp_path) != both and signature(tmp_path, (".nii.gz",)) == images
    os.utime(image, ns=(1, 1))
    assert signature(tmp_path, (".nii.gz",)) != images
