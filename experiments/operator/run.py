"""An operator network over anatomies against the solver: error on unseen brains, and time.

    twinjax-train hydra.run.dir=outputs/operator
    python experiments/operator/run.py [outputs/operator] [--output outputs/operator]

Brains and tumours that the training has not seen (synthetic), solved on a grid twice as fine; and, where TWINJAX_DATA
names the folder with public data, tumours (synthetic too) in the tissue of a real patient and of the SRI24 atlas. The
network and simpler answers on its own grid: itself before training, the solver there, the solver in even tissue, the
training example that is nearest in its parameters, the density at the start. Prints tables, median (and nine of ten) of
each error, then processor times of one answer; draws some tumours. What the network refuses (outside its ranges) is not
scored.
"""

import argparse
import os
import time
from pathlib import Path

import equinox as eqx
import jax
import matplotlib
import numpy as np
from omegaconf import OmegaConf

from twinjax.core.config import instantiate
from twinjax.domain import Domain
from twinjax.imaging.nifti import read_nifti
from twinjax.model import FisherKPP
from twinjax.simulation import load_operator, simulate
from twinjax.training import accuracy, predicted
from twinjax.training.examples import FINER, gathered
from twinjax.treatment import Regimen

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# As calibration takes it (conf/config.yaml).
MAX_STEP = 3.5
# Tumours in each real anatomy are tried in so many places.
PLACES = 8
# Parameters in which training examples are near or far.
NEAR_IN = ("reach", "diffusivity", "proliferation_rate", "days", "initial_radius", "initial_extent", "tissue")
TIMED = 20
SOLVER = "solver on its grid"


@eqx.filter_jit
def solved(model: FisherKPP, share0, days):
    return simulate(model, Regimen(), share0, days[None], max_step=MAX_STEP).states[0]


def on_grid(box, growth, spacing: float) -> FisherKPP:
    """The model of an example, whose D(x) / D stands in for its white matter."""
    domain = Domain(box.mask, (spacing,) * 3, white_matter=box.relative)
    return FisherKPP(domain, diffusivity=growth.diffusivity, proliferation_rate=growth.proliferation_rate)


def even(box, growth, spacing: float) -> FisherKPP:
    """The same tumour where D is everywhere that of its tissue on average, and tissue does not end."""
    full = np.ones(box.mask.shape)
    mean = np.mean(box.relative, where=box.mask)
    return on_grid(box._replace(mask=full > 0, relative=mean * full), growth, spacing)


def answers(operator, begun, training, examples) -> dict[str, list[np.ndarray]]:
    """Of every method, the densities of the examples; `begun` is the operator before training."""
    found = {"operator network": predicted(operator, examples), "before training": predicted(begun, examples)}
    grid, evenly, nearest, unchanged = [], [], [], []
    near = np.stack([np.log(training.told[name] + 1e-3) for name in NEAR_IN])
    spread = near.std(axis=1)
    for number in range(examples.count):
        box, share0, growth, _ = examples.of(np.asarray(number))
        for models, into in ((on_grid, grid), (even, evenly)):
            into.append(np.asarray(solved(models(box, growth, operator.spacing), share0, growth.days)) * box.mask)
        here = np.array([np.log(examples.told[name][number] + 1e-3) for name in NEAR_IN])
        closest = np.argmin((((near - here[:, None]) / spread[:, None]) ** 2).sum(axis=0))
        nearest.append(training.share[closest] * box.mask)
        unchanged.append(share0)
    return found | {
        SOLVER: grid,
        "solver, even tissue": evenly,
        "nearest training example": nearest,
        "density at the start": unchanged,
    }


def accepted(operator, examples):
    """The examples within the ranges of the network, and how many are not."""
    kept = np.ones(examples.count, bool)
    for name, (low, high) in operator.ranges:
        kept &= (examples.told[name] >= low) & (examples.told[name] <= high)
    each = {"tumor": examples.tumor, "share": examples.share, "growth": examples.growth, "told": examples.told}
    return examples._replace(**jax.tree.map(lambda leaf: leaf[kept], each)), int((~kept).sum())


def real_examples(tumors, seed: int):
    """Tumours in real anatomies, by name; none without the data."""
    if not (folder := os.environ.get("TWINJAX_DATA")):
        return {}
    glioma = Path(folder) / "glioma"
    atlas = read_nifti(next((glioma / "sri24_atlas").glob("*.nii.gz")))
    case = [read_nifti(glioma / "gliomasolver_case" / f"{name}.nii.gz") for name in ("WM", "GM")]
    tissues = {
        "SRI24 atlas": (atlas.data == 3, atlas.data == 2, atlas.affine),
        "a real patient's tissue": (case[0].data, case[1].data, case[0].affine),
    }
    found = {}
    for name, (white, grey, affine) in tissues.items():
        brain = Domain.from_tissue(np.asarray(white, float), np.asarray(grey, float), affine)
        rng, grown = np.random.default_rng([seed, 9]), []
        places = np.argwhere(np.asarray(brain.mask))
        for place in rng.choice(places, PLACES, replace=False):
            center = (np.asarray(affine) @ [*place, 1.0])[:3]
            fine = brain.cube_about(center, voxels=FINER * tumors.voxels, resolution_mm=tumors.resolution_mm / FINER)
            grown += list(tumors.of_brain(fine, int(rng.integers(1 << 30))))
        found[name] = gathered(grown)
    return found


def table(title: str, methods: dict, share) -> None:
    print(f"\n{title}\n\n| method | relative L2 | 1 - Dice | volume error |\n| --- | --- | --- | --- |")
    for method, densities in methods.items():
        s = accuracy(densities, share).summary()
        cells = [
            f"{s[f'{e}_median']:.3f} ({s[f'{e}_nine_of_ten']:.3f})"
            for e in ("relative_l2", "dice_error", "volume_error")
        ]
        print(f"| {method} | " + " | ".join(cells) + " |", flush=True)


def milliseconds(function, inputs) -> float:
    """Median processor time of one answer, after one that compiles."""
    jax.block_until_ready(function(*inputs[0]))
    taken = []
    for each in inputs:
        began = time.process_time()
        jax.block_until_ready(function(*each))
        taken.append(1e3 * (time.process_time() - began))
    return float(np.median(taken))


def times(operator, tumors, examples, seed: int) -> None:
    """Of the network, the solver on its grid and on the finer one."""
    chosen = [examples.of(np.asarray(n)) for n in range(0, examples.count, max(1, examples.count // TIMED))]
    call = eqx.filter_jit(lambda operator, *inputs: operator.share(*inputs))
    by_network = milliseconds(call, [(operator, *inputs) for *inputs, _ in chosen])
    coarse = [(on_grid(box, growth, operator.spacing), start, growth.days) for box, start, growth, _ in chosen]
    by_solver = milliseconds(solved, coarse)
    fine = tumors.brain(seed)
    finer = [
        (FisherKPP(fine, diffusivity=g.diffusivity, proliferation_rate=g.proliferation_rate), fine.mask * 0.1, g.days)
        for _, _, g, _ in chosen
    ]
    print("\nProcessor time of one answer (ms), an upper bound where other work runs beside:")
    print(
        f"network {by_network:.1f}, solver on its grid {by_solver:.1f}, on the finer {milliseconds(solved, finer):.1f}"
    )


def figure(methods: dict, examples, path: Path) -> None:
    """Slices of three tumours, the error of which is the median and more."""
    network, grid = methods["operator network"], methods[SOLVER]
    errors = accuracy(network, examples.share).relative_l2
    order = np.argsort(errors)
    rows = [order[int(share * (len(order) - 1))] for share in (0.25, 0.5, 0.9)]
    plot, axes = plt.subplots(len(rows), 5, figsize=(10, 6.2), layout="constrained")
    for panels, number in zip(axes, rows, strict=True):
        box, start, growth, share = examples.of(np.asarray(number))
        middle = share.shape[2] // 2
        shown = [start, share, network[number], network[number] - share, grid[number] - share]
        titles = [
            "start",
            f"solver, {growth.days:.0f} days",
            f"network ({errors[number]:.2f})",
            "off by",
            "solver on its grid, off by",
        ]
        for panel, values, title in zip(panels, shown, titles, strict=True):
            signed = "off" in title
            panel.imshow(box.relative[:, :, middle].T, origin="lower", cmap="gray", vmin=0, vmax=1.5)
            colours = (
                {"cmap": "RdBu_r", "vmin": -0.3, "vmax": 0.3} if signed else {"cmap": "magma", "vmin": 0, "vmax": 1}
            )
            visible = np.abs(values[:, :, middle].T) if signed else values[:, :, middle].T
            panel.imshow(
                values[:, :, middle].T, origin="lower", alpha=np.clip(visible * (8 if signed else 3), 0, 1), **colours
            )
            panel.set(xticks=[], yticks=[])
            panel.set_title(title, fontsize=8)
    plot.suptitle("Synthetic tumours in brains that the network has not seen (relative L2 error)", fontsize=9)
    plot.savefig(path, dpi=110)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("outputs/operator"))
    parser.add_argument("--output", type=Path, default=Path("outputs/operator"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    config = OmegaConf.load(arguments.folder / "config.yaml")
    description, operator = instantiate(config.training), load_operator(arguments.folder / "operator.safetensors")
    training, test = (description.examples(kind, config.seed) for kind in ("brains", "test_brains"))
    begun = description.begun(training, seed=config.seed, precision=config.precision)
    sets = {"unseen virtual brains": test} | real_examples(description.tumors, config.seed)
    for name, examples in sets.items():
        examples, refused = accepted(operator, examples)
        methods = answers(operator, begun, training, examples)
        table(f"{name}: {examples.count} examples, {refused} refused", methods, examples.share)
        if name == "unseen virtual brains":
            figure(methods, examples, arguments.output / "unseen_brains.png")
            times(operator, description.tumors, examples, config.seed)
