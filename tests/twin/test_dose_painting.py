"""Painted doses: against every other plan of few levels, the conditions of an optimum, and an even dose."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import brentq

from twinjax.core.errors import InputError
from twinjax.twin.dose_painting import paint, surviving_cells

FRACTIONS, ALPHA, RATIO = 30, 0.03, 10.0


def survival(levels: np.ndarray, alpha: npt.ArrayLike = ALPHA, fractions: int = FRACTIONS) -> np.ndarray:
    """(draws, levels) by the linear-quadratic law."""
    alpha = np.atleast_1d(alpha)[:, None]
    return np.exp(-fractions * alpha * levels * (1 + levels / RATIO))


def reached(left, levels, dose):
    return left[np.arange(len(left)), np.searchsorted(levels, dose)].sum()


def bounds(voxels, least=0.0, largest=2.5):
    return np.full(voxels, least), np.full(voxels, largest)


def test_survivors_are_the_mean_over_draws_of_each_voxel():
    levels = np.array([0.0, 1.0, 2.0])
    cells, kept = np.array([[1.0, 0.5], [0.2, 0.0]]), survival(levels, [0.02, 0.05])
    expected = [[np.mean(cells[:, x] * kept[:, j]) for j in range(3)] for x in range(2)]
    np.testing.assert_allclose(surviving_cells(cells, kept), expected, rtol=1e-12)


@pytest.mark.parametrize(("seed", "alpha", "fractions"), [(0, 0.03, 30), (1, 0.06, 30), (2, 0.01, 5), (3, 0.02, 3)])
def test_no_plan_of_these_levels_is_better_by_more_than_the_gap(seed, alpha, fractions):
    """Few fractions of little alpha are not convex in the dose."""
    rng = np.random.default_rng(seed)
    levels = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    cells = rng.uniform(0, 1, size=(3, 5)) ** 3
    left = surviving_cells(cells, survival(levels, alpha * rng.uniform(0.5, 1.5, size=3), fractions))
    budget = 5.2
    found = paint(left, levels, budget, *bounds(5))
    plans = [np.array(plan) for plan in itertools.product(levels, repeat=5) if sum(plan) <= budget]
    best = min(reached(left, levels, plan) for plan in plans)
    assert found.dose.sum() <= budget + 1e-9
    assert best <= reached(left, levels, found.dose) + 1e-12
    assert reached(left, levels, found.dose) - best <= found.gap + 1e-12


def test_conditions_of_an_optimum():
    """One step more is worth less than the multiplier, one step less would cost more, in every voxel."""
    rng = np.random.default_rng(0)
    levels = np.linspace(0, 2.5, 51)
    cells = 10.0 ** rng.uniform(-6, 0, size=(8, 400))
    left = surviving_cells(cells, survival(levels, 0.03 * np.exp(0.3 * rng.normal(size=8))))
    budget = 2.0 * 280
    found = paint(left, levels, budget, *bounds(400))
    step = levels[1]
    assert budget - 2.5 <= found.dose.sum() <= budget * (1 + 1e-12)
    # All but the one voxel that took what was left over.
    at, rows = np.searchsorted(levels, found.dose), np.arange(400)
    more, less = (at < 50), (at > 0)
    gains = (left[rows, at] - left[rows, np.minimum(at + 1, 50)]) / step
    costs = (left[rows, np.maximum(at - 1, 0)] - left[rows, at]) / step
    assert (gains[more] <= found.multiplier * (1 + 1e-6)).all()
    assert (costs[less] < found.multiplier * (1 - 1e-6)).sum() <= 1
    assert {0.0, 2.5} <= set(found.dose.tolist()) and ((found.dose > 0) & (found.dose < 2.5)).sum() > 50
    assert found.gap < 1e-4 * reached(left, levels, found.dose)


def test_one_draw_has_the_dose_of_the_closed_condition():
    """u n (alpha + 2 beta d) exp(-n (alpha d + beta d²)) is the multiplier, wherever the dose is free."""
    levels = np.linspace(0, 2.5, 251)
    cells = 10.0 ** np.linspace(-4, 0, 200)
    left = surviving_cells(cells[None], survival(levels))
    found = paint(left, levels, 200.0, *bounds(200))
    beta = ALPHA / RATIO

    def excess(dose, u):
        kept = np.exp(-FRACTIONS * (ALPHA * dose + beta * dose**2))
        return u * FRACTIONS * (ALPHA + 2 * beta * dose) * kept - found.multiplier

    free = (found.dose > 0.01) & (found.dose < 2.49)
    assert free.sum() > 30
    for u, dose in zip(cells[free], found.dose[free], strict=True):
        assert dose == pytest.approx(brentq(excess, 0, 4, args=(u,)), abs=0.011)


def test_painting_beats_an_even_dose_of_the_same_integral():
    levels = np.linspace(0, 2.5, 51)
    cells = np.exp(-np.abs(np.arange(-30, 31)) / 4.0)[None]
    left = surviving_cells(cells, survival(levels))
    even = np.where(np.abs(np.arange(-30, 31)) <= 12, 2.0, 0.0)
    found = paint(left, levels, even.sum(), *bounds(61))
    assert found.dose.sum() == pytest.approx(even.sum(), abs=0.06)
    assert reached(left, levels, found.dose) < 0.9 * reached(left, levels, even)


def test_bounds_of_each_voxel_hold():
    levels = np.linspace(0, 2.5, 51)
    left = surviving_cells(np.linspace(0.1, 1, 20)[None], survival(levels))
    least, largest = bounds(20)
    least[:5], largest[15:] = 1.0, 0.5
    found = paint(left, levels, 25.0, least, largest)
    assert (found.dose[:5] >= 1.0).all() and (found.dose[15:] <= 0.5).all() and found.dose.sum() <= 25.0


def test_a_budget_that_all_of_it_can_have_is_spent_no_further():
    levels = np.array([0.0, 1.0, 2.0])
    found = paint(surviving_cells(np.ones((1, 4)), survival(levels)), levels, 100.0, *bounds(4, largest=2.0))
    assert found.dose.tolist() == [2.0] * 4 and found.gap == 0.0


def test_equal_voxels_share_the_dose_to_within_a_step():
    levels = np.linspace(0, 2, 41)
    found = paint(surviving_cells(np.full((1, 30), 0.7), survival(levels)), levels, 30 * 1.03, *bounds(30))
    assert found.dose.sum() == pytest.approx(30.9, abs=0.051)
    assert found.dose.max() - found.dose.min() <= 0.051


def test_what_cannot_be_is_refused():
    levels = np.array([0.0, 1.0, 2.0])
    left = surviving_cells(np.ones((1, 4)), survival(levels))
    with pytest.raises(InputError, match="lower least_dose"):
        paint(left, levels, 3.0, *bounds(4, least=1.0))
    with pytest.raises(InputError, match="no dose between"):
        paint(left, levels, 3.0, *bounds(4, least=1.2, largest=1.8))
