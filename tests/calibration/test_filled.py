"""Problems filled up to a shape that patients share: the same numbers, by the same program."""

import jax
import numpy as np
import pytest

from twinjax.calibration import Prior, course_problem
from twinjax.calibration.curvature import residuals_and_jacobian
from twinjax.calibration.density import datum_log_likelihoods
from twinjax.calibration.filled import filled
from twinjax.calibration.levenberg_marquardt import expansion_of
from twinjax.calibration.problem import _log_likelihoods
from twinjax.core.bucket import bucket
from twinjax.model import SwansonPSA
from twinjax.patient import ClinicalCourse
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen
from twinjax.twin.course import _solved, forecast_course

PRIOR = Prior(
    {
        "growth_rate": {"distribution": ["lognormal", 0.002, 0.5], "where": ["model.growth_rate"], "unit": "1/day"},
        "alpha": {"distribution": ["lognormal", 0.05, 0.5], "where": ["regimen.radiotherapy.alpha"], "unit": "1/Gy"},
    }
)
Z = np.array([0.3, -0.4])


def problem(sizes: int, values: int, fractions: int):
    """A synthetic patient with volumes and PSA on days of which some are the same, and the last PSA below a limit."""
    days = np.linspace(0, 80, sizes)
    psa_days = np.r_[days[1], np.linspace(days[1] + 5, 90, values - 1)]
    measured = {
        "volume_mm3": (days, 2e4 * np.exp(-days / 60)),
        "psa_ng_ml": (psa_days, [*(30 * np.exp(-psa_days[:-1] / 40)).tolist(), "<0.1"]),
    }
    given = [Radiotherapy(np.linspace(9, 30, fractions), 2.0), Chemotherapy([8.0, 15.0], 75.0)]
    return course_problem(ClinicalCourse("P", measured, Regimen(given), source="synthetic"), SwansonPSA(), PRIOR)


@pytest.fixture(scope="module")
def original():
    return problem(sizes=5, values=6, fractions=7)


@pytest.mark.parametrize(("count", "expected"), [(1, 5), (5, 5), (6, 10), (33, 40), (41, 80)])
def test_bucket_is_the_next_of_doubled_fives(count, expected):
    assert bucket(count) == expected


@pytest.mark.thorough
def test_likelihoods_and_curvature_are_those_of_the_problem_itself(original):
    assert len(filled(original).problem.data) > len(original.data) > len(set(original.days.tolist()))
    np.testing.assert_allclose(datum_log_likelihoods(original, Z[None])[0], _log_likelihoods(original, Z), rtol=1e-9)
    value, jacobian, predicted = residuals_and_jacobian(original, Z, np.eye(2))
    cost, gradient, hessian, expected = expansion_of(original, Z)
    assert cost == pytest.approx(0.5 * float(value @ value), rel=1e-9)
    np.testing.assert_allclose(gradient, jacobian @ value, rtol=1e-8)
    np.testing.assert_allclose(hessian, jacobian @ jacobian.T, rtol=1e-8)
    np.testing.assert_allclose(np.concatenate(expected), np.concatenate(predicted), rtol=1e-9)


@pytest.mark.thorough
def test_a_forecast_is_that_of_the_problem_itself(original):
    times = np.array([10.0, 30.0, 95.0])
    found = forecast_course(original.whole, original, Z[None], times)
    itself, success = _solved(original.whole, original, Z[None], times, jax.random.split(jax.random.key(0), 1))
    assert success.all() and found.failed_draws == 0
    for name, draws in found.quantities.items():
        assert draws.shape == (1, 3)
        np.testing.assert_allclose(draws, itself[name], rtol=1e-9)


def test_patients_of_about_the_same_size_share_a_program(original):
    # What a compiled program is looked up by: the tree with its static fields, and the shapes.
    def shape(one):
        return jax.tree.structure(one), [leaf.shape for leaf in jax.tree.leaves(one)]

    alike, larger = problem(sizes=4, values=7, fractions=10), problem(sizes=4, values=7, fractions=11)
    assert shape(filled(alike).problem) == shape(filled(original).problem) != shape(filled(larger).problem)
    assert shape(alike) != shape(original)


def test_a_noise_level_among_the_parameters_keeps_the_problem_as_it_is():
    noise = {"distribution": ["lognormal", 0.1, 0.3], "where": ["observation.volume_mm3.noise_std"], "unit": "1"}
    course = ClinicalCourse("P", {"volume_mm3": ([0, 9, 20], [3e4, 3.1e4, 3.3e4])}, source="synthetic")
    asked = course_problem(course, SwansonPSA(), Prior({"growth_rate": PRIOR.parameters[0].entry, "noise": noise}))
    assert filled(asked).problem is asked
