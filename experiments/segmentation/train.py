"""Training of a SegResNet on generated scans, from where the last run stopped."""

import csv
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from generate import MODALITIES, VOXEL_MM, generate
from monai.data.meta_tensor import MetaTensor
from monai.losses.dice import DiceCELoss
from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import RandCropByPosNegLabeld
from monai.transforms.intensity.dictionary import RandScaleIntensityd, RandShiftIntensityd
from monai.transforms.spatial.dictionary import RandFlipd
from monai.transforms.utility.dictionary import FgBgToIndicesd
from tqdm import tqdm

from twinjax.imaging.segmentation.network import NetworkDescription
from twinjax.imaging.segmentation.segresnet import network_preprocessing

DESCRIPTION = NetworkDescription(
    channels=MODALITIES,
    normalization="nonzero_zscore",
    convention="brats2023",
    init_filters=8,
    voxel_mm=VOXEL_MM,
    orientation="RAS",
    training_data="synthetic: generated scans of experiments/segmentation, no patient among them",
)
LEARNING_RATE = 2e-3
# Background is nearly everything, and the necrotic core smallest.
CLASS_WEIGHTS = (0.4, 2.0, 1.0, 1.0)
CROPS = 2
CHECKPOINT_EVERY = 200
# Below this bfloat16 gradients of the deepest layer, 2 voxels wide, were not finite (torch 2.13, processor).
SMALLEST_CROP = 24
# Training begins with the first scans, and takes one more after so many steps: a second process generates meanwhile.
FIRST_SCANS, STEPS_PER_SCAN = 6, 12


class Generated(NamedTuple):
    """(4, X, Y, Z) float16 `image` as the segmenter would give it to the network, (1, X, Y, Z) int8 `label`, and the
    seconds of the processor that they took."""

    image: np.ndarray
    label: np.ndarray
    processor_seconds: float


def generated(seed: int) -> Generated:
    began = time.process_time()
    scan = generate(seed)
    stack = torch.from_numpy(np.stack([scan.images[name] for name in MODALITIES]))
    image = network_preprocessing(DESCRIPTION)(MetaTensor(stack, affine=torch.as_tensor(scan.affine))).as_tensor()
    label = np.asarray(scan.segmentation)[None]
    assert image.shape[1:] == label.shape[1:], "generated on the grid of the network"
    return Generated(image.half().numpy(), label, time.process_time() - began)


class Scans:
    """The scans of a training run, in the order in which another process generates them."""

    def __init__(self, arriving: Iterator[Generated], count: int):
        self.arriving, self.count = arriving, count
        self.found: list[dict] = []
        self.processor_seconds = 0.0

    def at(self, step: int) -> list[dict]:
        """Those of a step, with labels and where to crop: the same whenever they came."""
        wanted = min(self.count, FIRST_SCANS + step // STEPS_PER_SCAN)
        while len(self.found) < wanted:
            one = next(self.arriving)
            self.processor_seconds += one.processor_seconds
            arrays = {"image": torch.from_numpy(one.image), "label": torch.from_numpy(one.label)}
            self.found.append(FgBgToIndicesd("label", image_key="image")(arrays))
        return self.found


@contextmanager
def generating(seeds: range) -> Iterator[Scans]:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(1, context, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield Scans(pool.map(generated, seeds), len(seeds))
    finally:
        pool.shutdown(cancel_futures=True)


def crops(scans: list[dict], size: int, seed: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """(CROPS, 4, size, size, size) images and (CROPS, 1, size, size, size) labels of random places in random scans."""
    rng = np.random.default_rng(seed)
    both = ("image", "label")
    cut = RandCropByPosNegLabeld(
        both, "label", (size,) * 3, pos=2, neg=1, fg_indices_key="label_fg_indices", bg_indices_key="label_bg_indices"
    )
    vary = [RandScaleIntensityd("image", 0.1, prob=0.5), RandShiftIntensityd("image", 0.1, prob=0.5)]
    steps = Compose([cut, *(RandFlipd(both, 0.5, axis) for axis in range(3)), *vary])
    steps.set_random_state(seed=int(rng.integers(2**31)))
    found = [steps(scans[i])[0] for i in rng.integers(len(scans), size=CROPS)]
    images, labels = (torch.stack([one[name].as_tensor() for one in found]) for name in both)
    return images.float(), labels


class Trained(NamedTuple):
    """`losses` of every step; `seconds` of all runs together, and those of the processor, generation included."""

    losses: list[float]
    seconds: float
    processor_seconds: float


def train(output: Path, *, patients: int, steps: int, crop: int, seed: int) -> Trained:
    """Train and write `model.safetensors`, `model.json` and `losses.csv` into `output`.

    A run that was stopped goes on at its last checkpoint, one that is done is not done again.
    """
    if crop % 8 or crop < SMALLEST_CROP:
        raise SystemExit(f"crops must be a multiple of 8 voxels, at least {SMALLEST_CROP}, got {crop}")
    torch.manual_seed(seed)
    weights, checkpoint = output / "model.safetensors", output / "checkpoint.pt"
    network = DESCRIPTION.network().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-5, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    settings = {"patients": patients, "steps": steps, "crop": crop, "seed": seed}
    losses, before = [], (0.0, 0.0)
    if checkpoint.is_file():
        stored = torch.load(checkpoint, weights_only=True)
        if stored["settings"] != settings:
            raise SystemExit(f"{checkpoint} has other settings, {stored['settings']}; remove it or choose an --output")
        losses, before = stored["losses"], stored["seconds"]
        for name, part in parts.items():
            part.load_state_dict(stored[name])
    if len(losses) == steps and weights.is_file():
        return Trained(losses, *before)
    began = clocks()
    output.mkdir(parents=True, exist_ok=True)
    loss_of = DiceCELoss(softmax=True, to_onehot_y=True, batch=True, weight=torch.tensor(CLASS_WEIGHTS))
    bar = tqdm(range(len(losses), steps), desc="training", initial=len(losses), total=steps)
    seconds = before
    with generating(scan_seeds(seed, patients)) as scans:
        for step in bar:
            images, labels = crops(scans.at(step), crop, [seed, step])
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(images)
            loss = loss_of(logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if not np.isfinite(losses[-1]):
                raise SystemExit(f"the loss of step {step + 1} is not finite; the last checkpoint is from before")
            if (step + 1) % 20 == 0:
                bar.set_postfix(loss=f"{np.mean(losses[-20:]):.3f}")
            if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
                clock, own = (b + now - then for b, now, then in zip(before, clocks(), began, strict=True))
                seconds = (clock, own + scans.processor_seconds)
                state = {name: part.state_dict() for name, part in parts.items()}
                torch.save({**state, "settings": settings, "losses": losses, "seconds": seconds}, checkpoint)
    replace(DESCRIPTION, window=crop).save(network, weights)
    with (output / "losses.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("step", "loss"), *enumerate(losses, start=1)])
    return Trained(losses, *seconds)


def clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def scan_seeds(seed: int, count: int) -> range:
    """Of the scans of a training run; those of `evaluate.HELD_OUT_SEED` and above are held out."""
    return range(seed * 10_000, seed * 10_000 + count)
