"""The training of a `DensityOperator` on solved tumours in many brains."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.core.count import check_counts
from twinjax.core.errors import InputError
from twinjax.network import fourier_operator
from twinjax.simulation.density_operator import FIELDS, OUTPUTS, SCALARS, DensityOperator
from twinjax.training.examples import Examples, Tumors
from twinjax.training.trainer import Trainer

# Seeds of brains: of a training, and how far those of validation and test are from them.
SEEDS, VALIDATION, TEST = 1_000_000, 400_000, 700_000


@dataclass(frozen=True)
class OperatorTraining:
    """Which tumours a `DensityOperator` is trained on, how large it is, and how it is trained.

    **Fields:** `tumors`; `brains`, `validation_brains` and `test_brains`, how many, all different; `width` and
    `blocks` of the network (`FourierOperator`); `trainer`.
    """

    tumors: Tumors = field(default_factory=Tumors)
    brains: int = 128
    validation_brains: int = 12
    test_brains: int = 24
    width: int = 16
    blocks: int = 4
    trainer: Trainer = field(default_factory=Trainer)

    def __post_init__(self):
        check_counts(self, "brains", "validation_brains", "test_brains", "width", "blocks", prefix="training.")
        if max(self.brains, self.validation_brains, self.test_brains) > SEEDS - TEST:
            raise InputError(f"training: at most {SEEDS - TEST} brains of a kind")

    def seeds(self, kind: str, seed: int) -> range:
        """Of the brains of a `kind`, different for every kind and seed."""
        first = seed * SEEDS + {"brains": 0, "validation_brains": VALIDATION, "test_brains": TEST}[kind]
        return range(first, first + getattr(self, kind))

    def examples(self, kind: str, seed: int, *, progress: bool = False) -> Examples:
        """Of the brains of a `kind`: brains, validation_brains or test_brains."""
        return self.tumors.examples(self.seeds(kind, seed), progress=progress)

    def begun(self, examples: Examples, *, seed: int, precision: str) -> DensityOperator:
        """Before training, for what `examples` are like; `precision` is float32 or float64."""
        network = fourier_operator(FIELDS, SCALARS, OUTPUTS, width=self.width, blocks=self.blocks, seed=seed)
        network = jax.tree.map(lambda leaf: leaf.astype(precision), network)
        ranges = tuple((name, (float(told.min()), float(told.max()))) for name, told in examples.told.items())
        return DensityOperator(network, self.tumors.resolution_mm, self.tumors.voxels, ranges)


def squared_error(operator: DensityOperator, example) -> Float[Array, ""]:
    """Of one example: the sum of squares of what the density is off by, over that of the density."""
    box, share0, growth, share = example
    return jnp.sum((operator.share(box, share0, growth) - share) ** 2) / jnp.sum(share**2)
