"""What needs more memory than there is is refused before it is taken."""

import pytest

from twinjax.core import memory
from twinjax.core.errors import InputError
from twinjax.core.memory import free_bytes, refuse_if_too_large


def test_what_fits_passes_and_what_does_not_is_told_with_its_size():
    refuse_if_too_large(1e6, "a small grid", "take another")
    with pytest.raises(InputError, match=r"a grid needs about 1,000,000 GB .* GB are free; take another"):
        refuse_if_too_large(1e15, "a grid", "take another")


def test_the_share_of_a_container_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    of_machine = free_bytes()
    assert of_machine > 1e8
    (tmp_path / "memory.max").write_text("50000000\n")
    (tmp_path / "memory.current").write_text("30000000\n")
    (tmp_path / "memory.stat").write_text("anon 10000000\ninactive_file 5000000\n")
    assert free_bytes() == 25_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes() == pytest.approx(of_machine, rel=0.5)
