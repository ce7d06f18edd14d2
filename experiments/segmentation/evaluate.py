"""Held-out generated scans, segmented as a user would: overlap, false positives, and a picture."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from generate import MODALITIES, generate
from tqdm import tqdm

from twinjax.core.config import load_named
from twinjax.imaging import AbstractSegmenter, ImagingPipeline, Scan, labels, write_nifti
from twinjax.patient.virtual import generate as grow_and_scan
from twinjax.twin.metric import dice

# Scans from here on are in no training: `train.scan_seeds` stays below.
HELD_OUT_SEED = 10_000_000
NAMES = {"whole_tumor": "whole tumour", "core": "core", "enhancing": "enhancing"}
# Seeds in white matter (MNI): frontal and parietal.
GROWN_AT_MM = ((28, 30, 16), (-28, -18, 26), (-28, 30, 16), (28, -40, 28))


def held_out(patients: int, tumor_free: int) -> list[Scan]:
    scans = [(HELD_OUT_SEED + number, number >= patients) for number in range(patients + tumor_free)]
    return [generate(seed, tumor_free=free) for seed, free in tqdm(scans, desc="generating held-out scans")]


def grown(count: int) -> list[Scan]:
    """Scans of another generator: tumours grown by reaction-diffusion, of `twinjax.patient.virtual`, at 1 mm."""
    scans = []
    for number, position in enumerate(tqdm(GROWN_AT_MM[:count], desc="growing tumours")):
        # The tissue that is simulated is what a tumour reaches by the last visit: enough for the first.
        values = {"visit_days": [0, 60], "seed_position_mm": position, "core_radius_mm": 10 + 2 * number}
        config = load_named("patient", "virtual_glioblastoma", seed=number, **values)
        with TemporaryDirectory() as folder:
            truth = grow_and_scan(config, folder)
            rmtree(Path(folder) / "day_0060")
            path = Path(folder) / "day_0000" / "segmentation.nii.gz"
            write_nifti(path, truth.segmentation(0), np.asarray(truth.domain.affine))
            processed = ImagingPipeline(MODALITIES, segmentation_model="existing_mask").process(folder)
        scans.append(processed["scan_baseline"])
    return scans


def evaluate(segmenter: AbstractSegmenter, scans: Sequence[Scan]) -> tuple[list[dict], list[np.ndarray]]:
    """For each scan Dice of the three regions (nan without tumour), volumes (mL) and seconds; and the labels found."""
    rows, found = [], []
    for scan in tqdm(scans, desc=type(segmenter).__name__):
        assert scan.segmentation is not None and scan.brain_mask is not None
        began = time.perf_counter()
        found.append(segmenter.segment(scan.images, scan.affine, scan.brain_mask))
        row: dict = {"seconds": round(time.perf_counter() - began, 2)}
        for name in NAMES:
            ours, true = (np.isin(x, labels.REGIONS[name]) for x in (found[-1], scan.segmentation))
            row[f"dice_{name}"] = round(dice(ours, true), 4) if true.any() else float("nan")
            row[f"true_ml_{name}"], row[f"found_ml_{name}"] = (
                round(float(x.sum() * np.prod(scan.spacing) / 1000), 3) for x in (true, ours)
            )
        rows.append(row)
    return rows, found


def write(rows: Sequence[dict], path: Path) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def summary(rows: Sequence[dict]) -> dict:
    """Mean, lowest and share above 0.9 of Dice over the scans with tumour, false positives (mL) over the others."""
    ill, healthy = ([row for row in rows if (row["true_ml_whole_tumor"] > 0) == wanted] for wanted in (True, False))
    found: dict = {"scans_with_tumor": len(ill), "scans_without": len(healthy)}
    for name in NAMES:
        values = np.array([row[f"dice_{name}"] for row in ill])
        found[name] = {
            "mean_dice": round(float(values.mean()), 4),
            "lowest_dice": round(float(values.min()), 4),
            "share_above_0.9": round(float((values > 0.9).mean()), 3),
        }
    false = np.array([row["found_ml_whole_tumor"] for row in healthy])
    if false.size:
        found["false_positive_ml"] = {"mean": round(float(false.mean()), 3), "largest": round(float(false.max()), 3)}
    return found


def table(summaries: dict[str, dict]) -> str:
    lines = [
        "| segmenter, scans | region | mean Dice | lowest | above 0.9 | false positives, mean (largest) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for segmenter, found in summaries.items():
        for name, title in NAMES.items():
            one, false = found[name], found.get("false_positive_ml")
            volume = f"{false['mean']:.2f} ({false['largest']:.2f}) mL" if false and name == "whole_tumor" else ""
            lines.append(
                f"| {segmenter} | {title} | {one['mean_dice']:.3f} | {one['lowest_dice']:.3f} | "
                f"{100 * one['share_above_0.9']:.0f} % | {volume} |"
            )
    return "\n".join(lines)


def picture(
    scans: Sequence[Scan], found: Sequence[np.ndarray], rows: Sequence[dict], path: Path, shown: int = 4, dpi: int = 90
) -> None:
    """The plane with most tumour of `shown` scans, from the best to the worst overlap."""
    order = np.argsort([row["dice_core"] for row in rows])[::-1]
    order = [i for i in order if not np.isnan(rows[i]["dice_core"])]
    chosen = [order[round(k * (len(order) - 1) / (shown - 1))] for k in range(shown)]
    figure, axes = plt.subplots(shown, 6, figsize=(12, 2.2 * shown), squeeze=False)
    for line, i in zip(axes, chosen, strict=True):
        truth = np.asarray(scans[i].segmentation)
        plane = int(np.argmax((truth > 0).sum(axis=(0, 1))))
        panels = {name: scans[i].images[name] for name in MODALITIES} | {"truth": truth, "found": found[i]}
        for axis, (name, values) in zip(line, panels.items(), strict=True):
            label = name in ("truth", "found")
            axis.imshow(
                values[:, :, plane].T,
                origin="lower",
                cmap="viridis" if label else "gray",
                vmax=labels.ENHANCING if label else None,
            )
            axis.set_axis_off()
            axis.set_title(f"{name}, core Dice {rows[i]['dice_core']:.2f}" if name == "found" else name, fontsize=8)
    figure.suptitle("Generated scans (synthetic), held out: best to worst core", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=dpi)
    plt.close(figure)
