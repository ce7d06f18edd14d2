"""The notebooks: stripped, numbered, listed, and run as a reader would run them, with few draws."""

import os
import re
from pathlib import Path

import jax
import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# The name of the size in the first code cell, and its value in the tests.
SIZES = {
    "1_first_twin_in_five_minutes": ("DRAWS", 10),
    "2_calibrating_your_own_patient": ("DRAWS", 10),
    "3_network_or_solver": ("STEPS", 50),
    "4_comparing_treatments": ("DRAWS", 10),
    "5_adding_a_cancer_model": ("DRAWS", 10),
}


def read(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_notebooks_are_numbered_without_gaps_and_each_has_a_size():
    assert [path.name.split("_")[0] for path in NOTEBOOKS] == [str(i + 1) for i in range(len(NOTEBOOKS))]
    assert [path.stem for path in NOTEBOOKS] == list(SIZES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stripped_short_and_listed(path):
    notebook = read(path)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert 8 <= len(notebook.cells) <= 15
    assert [cell.outputs for cell in code_cells(notebook)] == [[]] * len(code_cells(notebook))
    assert {cell.execution_count for cell in code_cells(notebook)} == {None}
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert f"notebooks/{path.name}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_a_notebook_lead_somewhere(path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    assert [link for link in links if not (path.parent / link).is_file()] == []


def resized(notebook, name: str, value: int):
    """The notebook with another value of the constant `name` in its first code cell."""
    cell = code_cells(notebook)[0]
    cell.source, count = re.subn(rf"^{name} = \d+", f"{name} = {value}", cell.source, flags=re.MULTILINE)
    assert count == 1
    return notebook


def client(notebook, folder: Path):
    """A kernel of the interpreter that runs the tests, whatever kernels are installed."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    return nbclient.NotebookClient(notebook, km=manager, timeout=900, resources={"metadata": {"path": str(folder)}})


@pytest.mark.thorough
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    # The kernel shares what the tests have compiled.
    for name in ("compilation_cache_dir", "persistent_cache_min_entry_size_bytes"):
        monkeypatch.setenv(f"JAX_{name.upper()}", str(getattr(jax.config, f"jax_{name}")))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
    folder = tmp_path / "work"
    folder.mkdir()
    notebook = resized(read(path), *SIZES[path.stem])
    client(notebook, folder).execute()
    figures = [o for cell in code_cells(notebook) for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(figures) >= 1
    assert list(folder.iterdir()) == []
