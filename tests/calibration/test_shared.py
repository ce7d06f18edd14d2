"""Weights among the unknowns, of one patient and of a cohort: exact where it can be, and a wrong law mended."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from twinjax.calibration import Datum, InverseProblem, LevenbergMarquardt, Prior, course_problem
from twinjax.calibration.shared import fit_by_evidence, fit_shared
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import DensityField, FisherKPP, NeuralGrowth, VolumeModel
from twinjax.observation import PETObservation
from twinjax.patient import ClinicalCourse
from twinjax.treatment import Regimen

N, NOISE = 12, 0.1
UPTAKE = np.linspace(0.1, 0.9, N)
KEY = jax.random.key(0)


def line_problem(offset: float, scale: float) -> InverseProblem:
    """PET as background + scale u of a known density: a straight line, whose posterior is exactly normal."""
    values = offset + scale * UPTAKE + NOISE * np.random.default_rng(int(10 * offset)).normal(size=N)
    prior = Prior(
        {
            "scale": {"distribution": ("normal", 0.8, 0.4), "where": "observation.pet.scale"},
            "background": {"distribution": ("normal", 0.2, 0.3), "where": "observation.pet.background"},
        }
    )
    pet = PETObservation(noise_std=NOISE, discrepancy_std=0.0, correlation_length_mm=1.0)
    model, start = FisherKPP(Domain(np.ones(N), (1.0,))), DensityField(jnp.asarray(UPTAKE))
    return InverseProblem(model, Regimen(), start, {"pet": pet}, [Datum(0.0, "pet", values, np.arange(N))], prior)


def test_the_joint_mode_of_straight_lines_is_exact():
    """One slope for three patients, each with an offset of its own: mode, covariance and evidence in closed form."""
    problems = [line_problem(offset, 1.3) for offset in (0.1, 0.4, 0.7)]
    found = fit_shared(problems, "scale", tolerance=1e-8)
    assert found.converged
    assert found.names == ("scale",)
    count = len(problems)
    design = np.zeros((count * N, 1 + count))
    design[:, 0] = np.tile(0.4 * UPTAKE, count)
    for i in range(count):
        design[i * N : (i + 1) * N, 1 + i] = 0.3
    values = np.concatenate([np.asarray(p.data[0].values) for p in problems])
    middle = np.tile(0.2 + 0.8 * UPTAKE, count)
    precision = design.T @ design / NOISE**2 + np.eye(1 + count)
    z = np.linalg.solve(precision, design.T @ (values - middle) / NOISE**2)
    np.testing.assert_allclose(found.center, z[:1], rtol=1e-7)
    np.testing.assert_allclose(found.own[:, 0], z[1:], rtol=1e-7)
    np.testing.assert_allclose(found.covariance, np.linalg.inv(precision)[:1, :1], rtol=1e-9)
    covariance: Any = NOISE**2 * np.eye(values.size) + design @ design.T
    evidence = multivariate_normal(middle, covariance).logpdf(values)
    assert found.log_evidence == pytest.approx(evidence, abs=1e-6)


def test_of_one_patient_it_is_levenberg_marquardt():
    problem = line_problem(0.4, 1.3)
    found = fit_shared([problem], "scale", tolerance=1e-8)
    alone = LevenbergMarquardt(estimate_noise=False, tolerance=1e-8).fit(problem, key=KEY)
    np.testing.assert_allclose([*found.center, *found.own[0]], alone.z_map, rtol=1e-7)
    assert found.log_evidence == pytest.approx(alone.diagnostics["log_evidence"], abs=1e-9)


def test_cohorts_that_share_nothing_are_refused():
    with pytest.raises(InputError, match="no parameter 'slope'"):
        fit_shared([line_problem(0.1, 1.0)], "slope")
    with pytest.raises(InputError, match="no parameter"):
        fit_shared([], "scale")
    other = line_problem(0.1, 1.0)
    wider = other.prior.replaced({"scale": ("normal", 0.8, 0.9)})
    with pytest.raises(InputError, match="same prior"):
        fit_shared(
            [
                other,
                InverseProblem(
                    other.whole.model, Regimen(), other.whole.initial, other.whole.observation, other.data, wider
                ),
            ],
            "scale",
        )
    with pytest.raises(InputError, match="at least one value"):
        fit_by_evidence([other], "scale", "observation.pet.noise_std", [])


USED, LATER, SCATTER = np.arange(0.0, 201.0, 40.0), np.array([300.0, 400.0]), 0.05
DEVIATION = "model.growth.residual.deviation"


def growing(number: int, law: str, days) -> tuple[np.ndarray, np.ndarray]:
    """True and measured volumes (mm³), by the closed form of the law."""
    rng = np.random.default_rng(number)
    rate = {"gompertz": 0.0018, "logistic": 0.01}[law] * np.exp(0.3 * rng.normal())
    model = VolumeModel(growth=law, proliferation_rate=rate)
    true = np.asarray(model.untreated(jnp.full(len(days), 3e4), jnp.asarray(days)))
    return true, true * np.exp(SCATTER * rng.normal(size=len(days)))


def course(number: int, law: str, model: VolumeModel, days=USED) -> InverseProblem:
    parameters = {
        "proliferation_rate": {"distribution": ("lognormal", 0.01, 0.9), "where": "model.proliferation_rate"},
        "initial_size": {"distribution": ("lognormal", 1.0, SCATTER), "where": "initial.ratio"},
    }
    if isinstance(model.growth, NeuralGrowth):
        parameters["residual"] = {"distribution": ("normal", 0.0, 1.0), "where": "model.growth.residual.last"}
    patient = ClinicalCourse("synthetic", {"volume_mm3": (days, growing(number, law, days)[1])})
    return course_problem(patient, model, Prior(parameters), noise={"volume_mm3": SCATTER})


CLOSURE = VolumeModel(growth=NeuralGrowth("logistic"))


def test_each_weight_is_an_unknown_of_its_own():
    problem = course(0, "logistic", CLOSURE)
    assert problem.prior.names == ("proliferation_rate", "initial_size", *(f"residual_{i + 1}" for i in range(9)))
    z = jnp.arange(11.0)
    tumor = problem.tumor_at(z)
    assert isinstance(tumor.model, VolumeModel)
    assert isinstance(tumor.model.growth, NeuralGrowth)
    np.testing.assert_array_equal(jnp.stack(tumor.model.growth.residual.last), z[2:])
    places = ["model.growth.residual.last", "model.growth.residual.hidden"]
    both = Prior({"residual": {"distribution": ("normal", 0.0, 1.0), "where": places}})
    whole = problem.whole
    with pytest.raises(InputError, match="different counts"):
        InverseProblem(whole.model, Regimen(), whole.initial, whole.observation, problem.data, both)
    beyond = Prior({"residual": {"distribution": ("normal", 0.0, 1.0), "where": "model.growth.residual.last.9"}})
    with pytest.raises(InputError, match="there is no '9'"):
        InverseProblem(whole.model, Regimen(), whole.initial, whole.observation, problem.data, beyond)


def forecast_error(model: VolumeModel, number: int, law: str) -> float:
    """|ln(forecast / truth)| at the mode, over the days after the last that was used."""
    problem = course(number, law, model)
    method = LevenbergMarquardt(estimate_noise=False)
    _, mode = method.fit_mode(problem, key=KEY)
    tumor = problem.tumor_at(jnp.asarray(mode.z)).model
    assert isinstance(tumor, VolumeModel)
    start = problem.tumor_at(jnp.asarray(mode.z)).state0()
    found = tumor.untreated(jnp.full(LATER.size, start), jnp.asarray(LATER))
    return float(np.mean(np.abs(np.log(found / growing(number, law, LATER)[0]))))


@pytest.mark.thorough
def test_a_wrong_law_is_mended_by_a_cohort_and_a_right_one_is_left_alone():
    """Gompertz' truth by the logistic law: forecasts err by less than half of what the law alone does."""
    # As many days as of the patients, who then share the compiled program.
    days = np.linspace(0.0, 400.0, USED.size)
    cohort = [course(100 + n, "gompertz", CLOSURE, days) for n in range(6)]
    deviation, shared = fit_by_evidence(cohort, "residual", DEVIATION, [0.0, 0.4])
    assert (deviation, shared.converged) == (0.4, True)
    begun = NeuralGrowth("logistic", deviation=deviation)
    learned = VolumeModel(
        growth=NeuralGrowth("logistic", residual=begun.residual.knowing(shared.center, shared.covariance))
    )
    plain = VolumeModel(growth="logistic")
    law, cohorts, alone = (
        np.mean([forecast_error(model, number, "gompertz") for number in range(3)])
        for model in (plain, learned, CLOSURE)
    )
    assert cohorts < 0.5 * law, (law, alone, cohorts)
    assert alone < 0.8 * law, (law, alone, cohorts)
    right = [course(200 + n, "logistic", CLOSURE, days) for n in range(6)]
    assert fit_by_evidence(right, "residual", DEVIATION, [0.0, 0.4])[0] == 0.0
