"""Targets of a given volume against all others of that volume, on grids small enough to try them."""

import itertools

import numpy as np
import pytest

from twinjax.twin.target_volume import covered, covered_in_tail, most_expected, most_in_tail

NOTHING = np.zeros(12, bool)


def drawn_shares(seed: int, draws: int = 9, voxels: int = 12) -> np.ndarray:
    """Of each draw a blob at a place of its own, as shares."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(2, voxels - 2, size=(draws, 1))
    cells = np.exp(-((np.arange(voxels) - place) ** 2) / (2 * rng.uniform(0.5, 2, size=(draws, 1)) ** 2))
    return cells / cells.sum(axis=1, keepdims=True)


def all_targets(count: int, voxels: int = 12) -> np.ndarray:
    chosen = list(itertools.combinations(range(voxels), count))
    targets = np.zeros((len(chosen), voxels), bool)
    for target, indices in zip(targets, chosen, strict=True):
        target[list(indices)] = True
    return targets


@pytest.mark.parametrize("seed", range(5))
def test_no_target_of_the_volume_is_expected_to_cover_more(seed):
    shares = drawn_shares(seed)
    best = max(covered(shares, target).mean() for target in all_targets(4))
    found = most_expected(shares, 4, NOTHING)
    assert found.sum() == 4
    assert covered(shares, found).mean() == pytest.approx(best, abs=1e-12)


def test_what_is_required_is_inside_and_the_rest_still_best():
    shares = drawn_shares(1)
    required = np.isin(np.arange(12), [int(np.argmin(shares.mean(axis=0)))])
    tried = [target for target in all_targets(4) if (target & required).any()]
    for found in (most_expected(shares, 4, required), most_in_tail(shares, 4, required, 0.3).target):
        assert found.sum() == 4 and found[required].all()
    best = max(covered(shares, target).mean() for target in tried)
    assert covered(shares, most_expected(shares, 4, required)).mean() == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize(("seed", "tail"), [(0, 0.1), (1, 0.3), (2, 0.5), (3, 0.25), (4, 0.9)])
def test_the_target_of_the_worst_draws_is_within_its_gap_of_the_best(seed, tail):
    shares = drawn_shares(seed)
    best = max(covered_in_tail(shares, target, tail) for target in all_targets(4))
    found = most_in_tail(shares, 4, NOTHING, tail)
    reached = covered_in_tail(shares, found.target, tail)
    assert found.target.sum() == 4
    assert reached >= covered_in_tail(shares, most_expected(shares, 4, NOTHING), tail)
    assert reached <= best + 1e-12
    assert best - reached <= found.gap + 1e-9


def test_with_many_voxels_the_gap_vanishes():
    """At most one voxel a draw and one more is cut at a vertex of the program."""
    shares = drawn_shares(0, draws=20, voxels=2000)
    nothing = np.zeros(2000, bool)
    found = most_in_tail(shares, 8, nothing, 0.2)
    assert found.target.sum() == 8 and most_in_tail(shares, 200, nothing, 0.2).gap < 1e-3


def test_a_tail_of_all_draws_is_the_mean():
    shares = drawn_shares(5)
    found = most_in_tail(shares, 5, NOTHING, 1.0)
    assert covered(shares, found.target).mean() == pytest.approx(
        covered(shares, most_expected(shares, 5, NOTHING)).mean()
    )
    assert found.gap == pytest.approx(0.0, abs=1e-9)


def test_the_worst_draws_pull_the_target_to_them():
    """Nine draws at one place and one far off: the mean leaves it out, the worst tenth does not."""
    shares = np.zeros((10, 12))
    shares[:9, 1:5], shares[9, 8:12] = 0.25, 0.25
    assert covered(shares, most_expected(shares, 4, NOTHING))[9] == 0.0
    found = most_in_tail(shares, 4, NOTHING, 0.1)
    assert covered_in_tail(shares, found.target, 0.1) == pytest.approx(0.5)
