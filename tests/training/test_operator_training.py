"""The training of an operator network: its examples, and a small one that must reach its stated error."""

import equinox as eqx
import jax
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.training import OperatorTraining, Trainer, TrainingCheckpoint, Tumors, accuracy, predicted, squared_error
from twinjax.training.examples import VISIBLE, averaged

# Tumours of some mm in cubes of 48 mm.
TUMORS = Tumors(
    voxels=12,
    diffusivity=(0.05, 0.2),
    proliferation_rate=(0.03, 0.06),
    start_mm=(5.0, 9.0),
    longest_days=90.0,
    farthest_mm=12.0,
    per_brain=2,
    times=2,
)
TRAINING = OperatorTraining(
    TUMORS,
    brains=8,
    validation_brains=2,
    test_brains=3,
    width=8,
    blocks=2,
    trainer=Trainer(steps=80, batch=8, every=40, learning_rate=1e-2),
)


@pytest.fixture(scope="module")
def examples():
    return {kind: TRAINING.examples(kind, 0) for kind in ("brains", "validation_brains", "test_brains")}


def test_examples_are_tumours_that_grow_in_brains_of_their_own(examples):
    brains, test = examples["brains"], examples["test_brains"]
    assert brains.count == 8 * 2 * 2 and len(brains.share0) == 16 and test.count == 12
    seeds = [set(TRAINING.seeds(kind, seed)) for kind in examples for seed in (0, 1)]
    assert len(set.union(*seeds)) == sum(map(len, seeds))
    box, share0, growth, share = brains.of(np.arange(brains.count))
    assert (share0[~box.mask] == 0).all() and (share[~box.mask] == 0).all()
    assert share.min() >= 0 and share.max() <= 1 and share0.max() > 0.25
    assert (share.sum(axis=(1, 2, 3)) > share0.sum(axis=(1, 2, 3))).all()
    assert growth.days.min() > 0 and growth.days.max() <= 90 and growth.reach.max() <= 12 * (1 + 1e-6)
    # What can be seen stays away from the walls.
    assert max(np.moveaxis(share, axis, 0)[[0, -1]].max() for axis in (1, 2, 3)) < VISIBLE
    assert {leaf.dtype for leaf in jax.tree.leaves(brains)} <= {np.dtype(d) for d in ("float32", "bool", "int64")}


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_precision_is_that_of_weights_and_densities(examples, precision):
    begun = TRAINING.begun(examples["brains"], seed=0, precision=precision)
    *inputs, _ = examples["brains"].of(np.asarray(0))
    found = eqx.filter_eval_shape(lambda operator: operator.share(*inputs), begun)
    assert {leaf.dtype for leaf in jax.tree.leaves((begun, found))} == {np.dtype(precision)}


def test_densities_are_averaged_over_the_tissue_of_a_voxel():
    share, mask = np.zeros((2, 2, 4)), np.zeros((2, 2, 4), bool)
    mask[0], share[0] = True, 0.6
    # Of the second voxel one part in eight is tissue, which is too little.
    mask[0, :, 2:] = False
    mask[0, 0, 2], share[0, 0, 2] = True, 0.9
    np.testing.assert_allclose(averaged(share, mask), [[[0.6, 0.0]]])


@pytest.mark.thorough
def test_a_small_training_reaches_its_error_on_brains_it_has_not_seen(examples):
    begun = TRAINING.begun(examples["brains"], seed=0, precision="float32")
    done = TRAINING.trainer.fit(
        begun,
        squared_error,
        examples["brains"],
        examples["validation_brains"],
        seed=0,
        checkpoint=TrainingCheckpoint(None, {}),
        progress=False,
    )
    test = examples["test_brains"]
    before, after = (accuracy(predicted(o, test), test.share).summary() for o in (begun, done.best))
    still = accuracy(test.share0[test.tumor], test.share).summary()
    assert after["relative_l2_median"] < 0.09
    assert after["relative_l2_median"] < 0.7 * before["relative_l2_median"]
    assert after["relative_l2_median"] < 0.3 * still["relative_l2_median"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Tumors(start_mm=(5.0, 30.0)), "fronts come up to 54 mm"),
        (lambda: Tumors(diffusivity=(0.3, 0.1)), "tumors.diffusivity"),
        (lambda: Tumors(times=0), "tumors.times"),
        (lambda: OperatorTraining(blocks=0), "training.blocks"),
    ],
)
def test_bad_settings_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
