"""Models compared: leave-one-out against its closed form, and the law that made the data."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.stats import norm

from twinjax.calibration import LevenbergMarquardt, Prior, compare_models, course_problem
from twinjax.core.errors import InputError
from twinjax.model import VolumeModel
from twinjax.patient import ClinicalCourse

KEY = jax.random.key(0)
DAYS = np.array([0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0])
NOISE, START = 0.12, {"distribution": ("lognormal", 1.0, 0.12), "where": "initial.ratio"}
UNBOUNDED = 1e15
LINEAR = Prior(
    {
        "proliferation_rate": {"distribution": ("normal", 0.05, 0.02), "where": "model.proliferation_rate"},
        "initial_size": START,
    }
)
GOMPERTZ = Prior(
    {
        "proliferation_rate": {"distribution": ("lognormal", 0.08, 0.5), "where": "model.proliferation_rate"},
        "carrying_capacity": {"distribution": ("lognormal", 6000.0, 0.7), "where": "model.carrying_capacity_mm3"},
        "initial_size": START,
    }
)


def patient(volumes, **further) -> ClinicalCourse:
    return ClinicalCourse("synthetic", {"volume_mm3": (DAYS, volumes), **further}, source="synthetic")


# Gompertz growth that bends within the days measured, and its scatter.
TRUE = 6000.0 * np.exp(np.log(1000.0 / 6000.0) * np.exp(-0.12 * DAYS))
MEASURED = patient(TRUE * np.exp(0.5 * NOISE * np.random.default_rng(1).normal(size=DAYS.size)))


def fitted(course, law):
    """The exponential law is the logistic one without a bound."""
    exponential = law == "exponential"
    model = VolumeModel(growth="logistic", carrying_capacity_mm3=UNBOUNDED) if exponential else VolumeModel(growth=law)
    problem = course_problem(course, model, LINEAR if exponential else GOMPERTZ)
    return LevenbergMarquardt(estimate_noise=False, draws=1000).fit(problem, key=KEY)


@pytest.fixture(scope="module")
def posteriors():
    return {law: fitted(MEASURED, law) for law in ("exponential", "gompertz")}


@pytest.fixture(scope="module")
def comparison(posteriors):
    return compare_models(posteriors)


def left_out_exactly(values) -> np.ndarray:
    """Log predictive density of each logarithm given the others: ln V = ln V0 + 0.12 z1 + (0.05 + 0.02 z0) t.

    The first volume is V0, and no datum besides.
    """
    later = DAYS[1:]
    design = np.stack([0.02 * later, np.full(later.size, 0.12)], axis=1)
    target = np.log(values[1:] + 1) - np.log(values[0]) - 0.05 * later
    found = []
    for i in range(later.size):
        others = np.arange(later.size) != i
        covariance = np.linalg.inv(design[others].T @ design[others] / NOISE**2 + np.eye(2))
        mean = covariance @ design[others].T @ target[others] / NOISE**2
        deviation = np.sqrt(design[i] @ covariance @ design[i] + NOISE**2)
        found.append(norm.logpdf(target[i], design[i] @ mean, deviation))
    return np.array(found)


@pytest.mark.thorough
def test_leave_one_out_is_that_of_the_closed_form(posteriors):
    """Of an exponential course, whose posterior is normal: here of data that the law fits."""
    growing = 1000.0 * np.exp(0.06 * DAYS + NOISE * np.random.default_rng(2).normal(size=DAYS.size))
    exponential = fitted(patient(growing), "exponential")
    found = compare_models({"a": exponential, "b": replace(exponential, diagnostics={**exponential.diagnostics})})
    expected = left_out_exactly(growing)
    assert found.scores[0].elpd_loo == pytest.approx(expected.sum(), abs=0.15)
    assert found.scores[0].se == pytest.approx(np.sqrt(expected.size * expected.var()), rel=0.1)
    assert found.scores[0].elpd_waic == pytest.approx(expected.sum(), abs=0.3)
    # Two parameters, held by their priors a little.
    assert 0.8 < found.scores[0].p_loo < 2.2


def test_the_law_that_made_the_data_wins(comparison):
    assert comparison.best == "gompertz"
    best, other = comparison.scores
    assert best.weight > 0.9 and best.difference == 0
    assert other.difference > 2 * other.difference_se > 0
    assert not any("cannot be told apart" in warning for warning in comparison.warnings)


def test_what_fits_badly_is_not_trusted_and_says_so(comparison):
    """The exponential law misses the last volume by far: without it there would be another posterior."""
    worst = comparison.scores[1]
    assert worst.worst_pareto_k > 0.7 and worst.unreliable == ("day 35 volume_mm3",)
    (warning,) = [w for w in comparison.warnings if w.startswith("exponential: the leave-one-out")]
    assert "NOT to be trusted (Pareto k up to" in warning
    assert "WARNING: exponential: the leave-one-out" in comparison.text()


def test_rows_and_text_hold_every_model(comparison):
    rows = comparison.rows()
    assert [row["model"] for row in rows] == ["gompertz", "exponential"]
    assert sum(row["weight"] for row in rows) == pytest.approx(1)
    # Laplace's evidence prefers the same law.
    assert rows[0]["log_evidence"] > rows[1]["log_evidence"] + 1
    assert comparison.left_out == tuple(f"day {day:g} volume_mm3" for day in DAYS[1:])
    assert comparison.text().splitlines()[1].split()[0] == "gompertz"


def test_evidence_is_shown_where_a_calibrator_gives_it(posteriors):
    known = {
        law: replace(one, diagnostics={**one.diagnostics, "log_evidence": -1.0}) for law, one in posteriors.items()
    }
    assert [row["log_evidence"] for row in compare_models(known).rows()] == [-1.0, -1.0]


def test_models_that_foresee_alike_are_not_told_apart(posteriors):
    one = posteriors["gompertz"]
    found = compare_models({"one": one, "other": replace(one, z=one.z[::-1])})
    assert any("cannot be told apart" in warning for warning in found.warnings)


@pytest.mark.thorough
def test_what_one_visit_gave_is_left_out_together(posteriors):
    """Volume and diameter of a day say the same: left out one by one, each would tell the other."""
    course = patient(TRUE, diameter_mm=(DAYS, np.cbrt(6 * TRUE / np.pi)))
    both = replace(posteriors["gompertz"], problem=course_problem(course, VolumeModel(), GOMPERTZ))
    visits, data = (compare_models({"a": both, "b": both}, leave_out=by) for by in ("visit", "datum"))
    assert visits.left_out == tuple(f"day {day:g}" for day in DAYS)
    each = {f"day {day:g} {kind}" for day in DAYS for kind in ("volume_mm3", "diameter_mm")}
    assert set(data.left_out) == each - {"day 0 volume_mm3"}
    # What is left out is less well known where its twin is left out too.
    assert visits.scores[0].p_loo > data.scores[0].p_loo


def test_what_cannot_be_compared_is_refused(posteriors):
    one = posteriors["gompertz"]
    with pytest.raises(InputError, match="at least two models"):
        compare_models({"one": one})
    with pytest.raises(InputError, match="leave_out must be"):
        compare_models(posteriors, leave_out="voxel")
    with pytest.raises(InputError, match="other: a posterior read from a file"):
        compare_models({"one": one, "other": replace(one, problem=None)})
    shorter = replace(one, problem=course_problem(MEASURED.until(30.0), VolumeModel(), GOMPERTZ))
    with pytest.raises(InputError, match="other: its data are not those of the other models"):
        compare_models({"one": one, "other": shorter})
