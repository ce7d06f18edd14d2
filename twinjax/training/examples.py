"""What an operator network learns from: solved tumours in brains that all differ. Synthetic."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from twinjax.core.count import check_counts
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import FisherKPP, PointSeed
from twinjax.patient.phantom import varied_brain
from twinjax.simulation import simulate
from twinjax.simulation.density_operator import Box, Growth, box_of, described
from twinjax.treatment import Regimen

# The solver's grid is finer than the network's by this.
FINER = 2
# Seeds, and the longest step (days) of the solver, whose error at 4 days is 1e-4 in density (docs/which-solver.md).
SEED_RADIUS_MM, SEED_AMPLITUDE, LONGEST_STEP = 2.5, 0.5, 2.0
# A tumour is taken that is this dense somewhere at the start.
VISIBLE = 0.25
# How often another tumour is tried in a brain before it is given up.
TRIES = 20


class Examples(NamedTuple):
    """Tumours on the grid of the network, each at several times; densities relative to the carrying capacity.

    **Fields:** `box` and `share0`, of the tumours (N, ...), before they grow; `tumor` (E,), which each example is of;
    `share` (E, X, Y, Z), after `growth` (E,); `told` (E,): what `described` says of each.
    """

    box: Box
    share0: Float[np.ndarray, "tumors x y z"]
    tumor: Int[np.ndarray, " examples"]
    share: Float[np.ndarray, "examples x y z"]
    growth: Growth
    told: dict[str, Float[np.ndarray, " examples"]]

    @property
    def count(self) -> int:
        return len(self.tumor)

    def of(self, chosen) -> tuple[Box, np.ndarray, Growth, np.ndarray]:
        """Box, start, growth and end of the examples of these indices."""
        tumors = self.tumor[chosen]
        box, share0 = jax.tree.map(lambda leaf: leaf[tumors], (self.box, self.share0))
        return box, share0, jax.tree.map(lambda leaf: leaf[chosen], self.growth), self.share[chosen]


@dataclass(frozen=True)
class Tumors:
    """Which tumours there are to be, each drawn evenly (D, rho and the ratio: in their logarithm) from a range.

    **Fields:** `voxels` and `resolution_mm` of the cube; `diffusivity` (mm²/day), `proliferation_rate` (1/day),
    `white_grey_ratio`; `start_mm`, how far the front of a tumour, of another diffusivity and rate, has come when it is
    first seen; `longest_days` and `farthest_mm`, 2 sqrt(D rho) t, of the growth from then on; `per_brain`, tumours of
    a brain, and `times`, examples of a tumour.

    Raises `InputError` where a front might come to the walls of the cube.
    """

    voxels: int = 24
    resolution_mm: float = 4.0
    diffusivity: Sequence[float] = (0.03, 0.3)
    proliferation_rate: Sequence[float] = (0.01, 0.1)
    white_grey_ratio: Sequence[float] = (5.0, 20.0)
    start_mm: Sequence[float] = (5.0, 20.0)
    longest_days: float = 180.0
    farthest_mm: float = 24.0
    per_brain: int = 4
    times: int = 3

    def __post_init__(self):
        for name in ("diffusivity", "proliferation_rate", "white_grey_ratio", "start_mm"):
            values = getattr(self, name)
            if len(values) != 2 or not 0 < values[0] <= values[1]:
                raise InputError(
                    f"training.tumors.{name} must be two positive numbers, the lower first, got {list(values)}"
                )
        check_counts(self, "voxels", "per_brain", "times", prefix="training.tumors.")
        for name in ("resolution_mm", "longest_days", "farthest_mm"):
            if not getattr(self, name) > 0:
                raise InputError(f"training.tumors.{name} must be positive, got {getattr(self, name)}")
        front, wall = self.start_mm[1] + self.farthest_mm, self.voxels * self.resolution_mm / 2
        if front > wall:
            raise InputError(
                f"training.tumors: fronts come up to {front:g} mm far, and the walls of the cube are {wall:g} mm away; "
                "raise voxels, or lower start_mm or farthest_mm"
            )

    def brain(self, seed: int) -> Domain:
        """On the solver's grid."""
        return varied_brain(seed, voxels=FINER * self.voxels, resolution_mm=self.resolution_mm / FINER)

    def examples(self, seeds: Sequence[int], *, progress: bool = False) -> Examples:
        """Those of the brains of these seeds; equal seeds give equal examples."""
        brains = tqdm(seeds, desc="  brains", disable=not progress, mininterval=1.0)
        return gathered([tumor for seed in brains for tumor in self.of_brain(self.brain(seed), seed)])

    def of_brain(self, fine: Domain, seed: int) -> Iterator["GrownTumor"]:
        """`per_brain` tumours about the middle of a brain on the solver's grid, fewer where none comes to be seen."""
        rng = np.random.default_rng([seed, 8])
        coarse = fine.resampled(self.resolution_mm)
        found = 0
        for _ in range(TRIES):
            start = self._growth(rng)._replace(days=0.0)
            ratio, front = self._drawn(rng, "white_grey_ratio"), rng.uniform(self.start_mm[0], self.start_mm[1])
            later = self._growth(rng)
            longest = min(self.longest_days, self.farthest_mm / float(later._replace(days=1.0).reach))
            days = np.sort(rng.uniform(0.0, longest, self.times))
            age = front / float(start._replace(days=1.0).reach)
            first, then = (self._model(fine, growth, ratio) for growth in (start, later))
            share0, shares = solved(first, then, age, days)
            if share0.max() < VISIBLE:
                continue
            at_start, *ends = (averaged(share, fine.mask) for share in (share0, *shares))
            yield GrownTumor(self._model(coarse, later, ratio), at_start, np.stack(ends), days)
            found += 1
            if found == self.per_brain:
                return

    def _growth(self, rng) -> Growth:
        return Growth(self._drawn(rng, "diffusivity"), self._drawn(rng, "proliferation_rate"), 0.0)

    def _drawn(self, rng, name: str) -> float:
        low, high = np.log(getattr(self, name))
        return float(np.exp(rng.uniform(low, high)))

    def _model(self, domain: Domain, growth: Growth, ratio: float) -> FisherKPP:
        return FisherKPP(
            domain,
            diffusivity=growth.diffusivity,
            proliferation_rate=growth.proliferation_rate,
            white_grey_ratio=ratio,
        )


class GrownTumor(NamedTuple):
    """One tumour on the grid of the network: `share0` grows to `shares` (T, ...) within `days` (T,)."""

    model: FisherKPP
    share0: Float[np.ndarray, "x y z"]
    shares: Float[np.ndarray, "times x y z"]
    days: Float[np.ndarray, " times"]


def solved(first: FisherKPP, then: FisherKPP, age: float, days) -> tuple[np.ndarray, np.ndarray]:
    """What a seed in the middle is after `age` days by the first model, and (T, ...) `days` later by the other."""
    solve = partial(simulate, regimen=Regimen(), max_step=LONGEST_STEP)
    middle = np.asarray(first.domain.coordinates()).mean(axis=(1, 2, 3))
    seed = PointSeed(middle, radius=SEED_RADIUS_MM, amplitude=SEED_AMPLITUDE)(first.domain)
    grown = solve(first, state0=seed, times=[age]).require_success().states[0]
    ends = solve(then, state0=grown, times=days).require_success().states
    return np.asarray(grown), np.asarray(ends)


def averaged(share: Float[np.ndarray, "x y z"], mask) -> np.ndarray:
    """The density in the tissue of every voxel of the coarser grid, zero where less than half of it is tissue."""
    tissue = np.asarray(mask, float)
    blocks = [_blocks(array).mean(axis=(1, 3, 5)) for array in (share * tissue, tissue)]
    return np.where(blocks[1] >= 0.5, blocks[0] / np.maximum(blocks[1], 1e-9), 0.0)


def _blocks(array: np.ndarray) -> np.ndarray:
    return array.reshape([n for size in array.shape for n in (size // FINER, FINER)])


def gathered(tumors: Sequence[GrownTumor]) -> Examples:
    """The examples of these tumours in single precision; `InputError` where there are none."""
    if not tumors:
        raise InputError("training.tumors: none is dense enough to be seen at the start; raise its start_mm")
    each = [(number, tumor, day) for number, tumor in enumerate(tumors) for day in tumor.days]
    growth = [Growth(tumor.model.diffusivity, tumor.model.proliferation_rate, day) for _, tumor, day in each]
    return Examples(
        _stacked([box_of(tumor.model) for tumor in tumors]),
        _stacked([tumor.share0 for tumor in tumors]),
        np.asarray([number for number, _, _ in each]),
        _stacked([share for tumor in tumors for share in tumor.shares]),
        _stacked(growth),
        _stacked([described(tumor.model, tumor.share0, day) for _, tumor, day in each]),
    )


def _stacked(trees: Sequence[Any]) -> Any:
    def stacked(*leaves):
        array = np.stack([np.asarray(leaf) for leaf in leaves])
        return array.astype(np.float32) if array.dtype == np.float64 else array

    return jax.tree.map(stacked, *trees)
