"""What needs more memory than there is is refused before it is taken."""

import pytest

from twinjax.core import memory
from twinjax.core.errors import InputError
from twinjax.core.memory import free_bytes, free_device_bytes, refuse_if_too_large


def test_what_fits_passes_and_what_does_not_is_told_with_its_size():
    refuse_if_too_large(1e9, 1e9, "a small grid", "take another")
    with pytest.raises(InputError, match="a grid needs about 2.5 GB of memory, and 1.0 GB are free; take another"):
        refuse_if_too_large(2.5e9, 1e9, "a grid", "take another")


def test_without_a_gpu_what_is_free_is_that_of_the_machine():
    assert 1e8 < free_device_bytes() < float("inf")
    assert free_device_bytes(2) == pytest.approx(free_bytes(), rel=0.5)


@pytest.mark.parametrize(("own", "root"), [("0::/job/step\n", ""), ("4:memory:/job/step\n0::/\n", "memory")])
def test_the_least_of_the_groups_that_a_process_is_in_counts(monkeypatch, tmp_path, own, root):
    limit, taken, cached = memory.VERSION_1 if root else memory.VERSION_2
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    alone = free_bytes()
    (tmp_path / "own").write_text(own)
    for group, most, used in (("", 2**62, 60), ("job", 50_000_000, 30_000_000), ("job/step", 90_000_000, 20_000_000)):
        folder = tmp_path / root / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text(f"{most}\n")
        (folder / taken).write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 10\n{cached} 5000000\n")
    assert free_bytes() == 25_000_000
    (tmp_path / root / "job" / limit).write_text("max\n")
    assert free_bytes() == 75_000_000
    assert alone > 75_000_000
