"""A SegResNet of 16 filters on four images of 240 x 240 x 155 voxels, on the processor: time and peak memory."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import Row

from twinjax.domain import resample
from twinjax.imaging import ImagingPipeline, SegResNetSegmenter, brain_template, read_nifti, write_nifti
from twinjax.imaging.segmentation.network import MODALITIES, NetworkDescription

SHAPE = (240, 240, 155)
# Of BraTS files: 1 mm, axes to the left, back and top; the template's brain lies in the middle.
AFFINE = np.array([[-1.0, 0, 0, 119.5], [0, -1, 0, 100], [0, 0, 1, -70], [0, 0, 0, 1]])
GOAL = "120 s; 3 GiB"


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_patient(folder / "patient")
        description = NetworkDescription(channels=MODALITIES, normalization="nonzero_zscore", convention="brats2023")
        # Time and memory do not depend on what the weights are.
        description.save(description.network(), folder / "random.safetensors")
        return [
            _row("files to labels, brain only", "pipeline", folder),
            _row("network on every voxel", "whole", folder),
        ]


def _write_patient(folder: Path) -> None:
    template = brain_template(1.0)
    maps = {name: getattr(template, name) for name in ("brain_mask", "white_matter", "grey_matter")}
    on_grid = {
        name: resample(np.asarray(array, np.float32), template.affine, AFFINE, SHAPE)
        for name, array in {**maps, "T1": template.image("T1")}.items()
    }
    brain = on_grid.pop("brain_mask") >= 0.5
    signal = 1000 * on_grid.pop("T1") * brain
    rng = np.random.default_rng(0)
    for name in MODALITIES:
        on_grid[name] = signal + 50 * brain * rng.standard_normal(SHAPE, np.float32)
    (folder / "day_0000").mkdir(parents=True)
    for name, array in {**on_grid, "brain_mask": brain.astype(np.uint8)}.items():
        write_nifti(folder / "day_0000" / f"{name}.nii.gz", array, AFFINE)


def _row(what: str, case: str, folder: Path) -> Row:
    # A process of its own, whose peak of memory is the case's; modules are found from this folder.
    code = f"import segmentation; segmentation.measure({case!r}, {str(folder)!r})"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=Path(__file__).parent, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(run.stdout.splitlines()[-1])
    size = " x ".join(map(str, SHAPE))
    return Row(f"segmentation of 4 x {size}, {what}", f"{found['seconds']:.0f} s", f"{found['gib']:.2f} GiB", GOAL)


def measure(case: str, folder: str) -> None:
    """Print seconds and peak memory (GiB, imports included) of a case as JSON."""
    patient = Path(folder) / "patient"
    began = time.perf_counter()
    segmenter = SegResNetSegmenter(Path(folder) / "random.safetensors")
    if case == "pipeline":
        ImagingPipeline(MODALITIES, segmentation_model=segmenter).process(patient)
    else:
        images = {name: read_nifti(patient / "day_0000" / f"{name}.nii.gz").data for name in MODALITIES}
        everywhere = {name: image + np.float32(2000) for name, image in images.items()}
        segmenter.segment(everywhere, AFFINE, np.ones(SHAPE, bool))
    seconds = time.perf_counter() - began
    # Linux counts in KiB.
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "gib": gib}))


if __name__ == "__main__":
    for row in rows():
        print(f"{row.what}: {row.value}, {row.against} (goal: {row.goal})")
