"""`Trainer`: it goes on from a checkpoint to the same bits, ends early, and stops at what is no number."""

import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.network import perceptron
from twinjax.training import Trainer, TrainingCheckpoint

TRAINER = Trainer(steps=30, batch=4, every=7, learning_rate=1e-2, patience=100)
SETTINGS = {"trainer.steps": 30, "precision": "float64"}


class Points(NamedTuple):
    """x and sin(3 x)."""

    x: np.ndarray
    y: np.ndarray

    @property
    def count(self) -> int:
        return len(self.x)

    def of(self, chosen):
        return self.x[chosen], self.y[chosen]


def points(seed: int, dtype="float64") -> Points:
    x = np.random.default_rng(seed).uniform(-1, 1, (40, 1)).astype(dtype)
    return Points(x, np.sin(3 * x[:, 0]))


def error(network, point):
    x, y = point
    return (network(x) - y) ** 2


def small(dtype="float64"):
    return jax.tree.map(lambda leaf: leaf.astype(dtype), perceptron(1, width=6, depth=1))


def trained(folder, *, trainer=TRAINER, settings=SETTINGS, begun=None, report=lambda progress: None):
    checkpoint = TrainingCheckpoint(folder, settings)
    begun = small() if begun is None else begun
    return trainer.fit(begun, error, points(0), points(1), seed=3, checkpoint=checkpoint, progress=False, report=report)


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The training that nothing interrupted, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return trained(folder), folder


def test_it_learns_and_tells_its_losses(whole):
    rows = whole[0].rows(TRAINER.every)
    assert [row["step"] for row in rows] == [7, 14, 21, 28, 30]
    assert rows[-1]["validation"] < 0.7 * rows[0]["validation"]
    lowest = min(row["validation"] for row in rows)
    kept = np.mean([error(whole[0].best, (jnp.asarray(x), y)) for x, y in zip(*points(1), strict=True)])
    np.testing.assert_allclose(kept, lowest, rtol=1e-10)


@pytest.mark.parametrize("stop", [7, 21])
def test_an_interrupted_training_goes_on_to_the_same_bits(whole, tmp_path, stop):
    def stopped(progress):
        if int(progress.step) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, report=stopped)
    told = []
    again = trained(tmp_path, report=lambda progress: told.append(int(progress.step)))
    # It did go on, and did not begin anew.
    assert told[0] > stop and told[-1] == 30
    for one, other in zip(leaves(again), leaves(whole[0]), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_a_finished_training_is_not_done_again(whole):
    told = []
    again = trained(whole[1], report=told.append)
    assert told == []
    for one, other in zip(leaves(again), leaves(whole[0]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_single_precision_stays_single(tmp_path):
    trainer = Trainer(steps=4, batch=4, every=2)
    checkpoint = TrainingCheckpoint(tmp_path, {})
    done = trainer.fit(
        small("float32"),
        error,
        points(0, "float32"),
        points(1, "float32"),
        seed=0,
        checkpoint=checkpoint,
        progress=False,
    )
    assert {leaf.dtype for leaf in leaves((done.trained, done.best))} == {np.dtype("float32")}


def test_a_checkpoint_of_another_training_is_refused(whole):
    with pytest.raises(InputError, match="precision=float64, not float32"):
        trained(whole[1], settings={**SETTINGS, "precision": "float32"})


def test_a_damaged_checkpoint_is_refused_and_the_one_before_serves(whole, tmp_path):
    shutil.copytree(whole[1], tmp_path / "copy")
    last = tmp_path / "copy" / "30"
    for path in [path for path in last.rglob("*") if path.is_file()]:
        path.write_bytes(b"")
    with pytest.raises(InputError, match="step 30 is damaged"):
        trained(tmp_path / "copy")
    shutil.rmtree(last)
    again = trained(tmp_path / "copy")
    for one, other in zip(leaves(again), leaves(whole[0]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_ends_where_the_validation_falls_no_longer():
    trainer = Trainer(steps=40, batch=4, every=2, patience=3, learning_rate=1e-30)
    checkpoint = TrainingCheckpoint(None, {})
    done = trainer.fit(small(), error, points(0), points(1), seed=0, checkpoint=checkpoint, progress=False)
    # Nothing is learned at that rate: the first round stays the lowest.
    assert int(done.step) == 2 * (1 + 3)


def test_a_loss_that_is_no_number_stops_it_and_the_last_good_checkpoint_stays(tmp_path):
    trainer = Trainer(steps=30, batch=4, every=7, learning_rate=1e-2, patience=100)

    def bad_later(network, point):
        # The weights have moved by so much only after some rounds.
        moved = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(network))
        return jnp.where(moved > limit, jnp.nan, error(network, point))

    def fit():
        checkpoint = TrainingCheckpoint(tmp_path, {})
        return trainer.fit(small(), bad_later, points(0), points(1), seed=3, checkpoint=checkpoint, progress=False)

    sizes = [float(sum(np.sum(leaf**2) for leaf in leaves(tree))) for tree in (small(), trained(None).trained)]
    limit = sizes[0] + 0.5 * (sizes[1] - sizes[0])
    with pytest.raises(InputError, match=r"no number any longer at step \d+; the checkpoint of step \d+ is kept"):
        fit()
    kept = sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit())
    assert kept and 0 < kept[-1] < 30


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": 0}, "trainer.steps"),
        ({"batch": -1}, "trainer.batch"),
        ({"every": 50, "steps": 20}, "trainer.every=50"),
        ({"learning_rate": -1.0}, "learning_rate"),
    ],
)
def test_bad_settings_are_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        Trainer(**wrong)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write checkpoints to"):
        TrainingCheckpoint(tmp_path / "file", {})


def test_more_than_there_is_cannot_be_drawn():
    with pytest.raises(InputError, match="trainer.batch=64 is more than the 40 examples"):
        trained(None, trainer=Trainer(batch=64))
