"""Training of a SegResNet on generated scans, from where the last run stopped."""

import csv
import time
from pathlib import Path

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


def prepared(seed: int) -> dict:
    """A generated scan as the segmenter would give it to the network, with labels and where to crop."""
    scan = generate(seed)
    stack = torch.from_numpy(np.stack([scan.images[name] for name in MODALITIES]))
    image = network_preprocessing(DESCRIPTION)(MetaTensor(stack, affine=torch.as_tensor(scan.affine))).as_tensor()
    label = torch.from_numpy(np.asarray(scan.segmentation))[None]
    assert image.shape[1:] == label.shape[1:], "generated on the grid of the network"
    return FgBgToIndicesd("label", image_key="image")({"image": image.half(), "label": label})


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


def train(output: Path, *, patients: int, steps: int, crop: int, seed: int) -> list[float]:
    """Train and write `model.safetensors`, `model.json` and `losses.csv` into `output`; the loss of every step.

    A run that was stopped goes on at its last checkpoint, one that is done is not done again.
    """
    torch.manual_seed(seed)
    weights, checkpoint, began = output / "model.safetensors", output / "checkpoint.pt", time.perf_counter()
    network = DESCRIPTION.network().train().to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    settings = {"patients": patients, "steps": steps, "crop": crop, "seed": seed}
    losses, spent = [], 0.0
    if checkpoint.is_file():
        stored = torch.load(checkpoint, weights_only=True)
        if stored["settings"] != settings:
            raise SystemExit(f"{checkpoint} has other settings, {stored['settings']}; remove it or choose an --output")
        losses, spent = stored["losses"], stored["seconds"]
        for name, part in parts.items():
            part.load_state_dict(stored[name])
    if len(losses) == steps and weights.is_file():
        return losses
    output.mkdir(parents=True, exist_ok=True)
    scans = [prepared(number) for number in tqdm(scan_seeds(seed, patients), desc="generating")]
    loss_of = DiceCELoss(softmax=True, to_onehot_y=True, batch=True, weight=torch.tensor(CLASS_WEIGHTS))
    bar = tqdm(range(len(losses), steps), desc="training", initial=len(losses), total=steps)
    for step in bar:
        images, labels = crops(scans, crop, [seed, step])
        loss = loss_of(network(images.contiguous(memory_format=torch.channels_last_3d)), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss))
        if (step + 1) % 20 == 0:
            bar.set_postfix(loss=f"{np.mean(losses[-20:]):.3f}")
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            seconds = spent + time.perf_counter() - began
            state = {name: part.state_dict() for name, part in parts.items()}
            torch.save({**state, "settings": settings, "losses": losses, "seconds": seconds}, checkpoint)
    DESCRIPTION.save(network, weights)
    with (output / "losses.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("step", "loss"), *enumerate(losses, start=1)])
    print(f"{patients} scans and {steps} steps in {spent + time.perf_counter() - began:.0f} s", flush=True)
    return losses


def scan_seeds(seed: int, count: int) -> range:
    """Of the scans of a training run; those of `evaluate.HELD_OUT_SEED` and above are held out."""
    return range(seed * 10_000, seed * 10_000 + count)
