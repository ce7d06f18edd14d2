"""Visits one after the other give what all of them at once give, by reweighting and by a fit from the old mode."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import line
import numpy as np
import pytest
from scipy.stats import norm

from twinjax.calibration import (
    Datum,
    ImportanceSampler,
    LevenbergMarquardt,
    NoUTurnSampler,
    Posterior,
    Prior,
    assimilate,
    course_problem,
    longitudinal_problem,
)
from twinjax.calibration.density import datum_log_likelihoods, log_densities
from twinjax.calibration.sequential import _added, _log_ratio
from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.model import VolumeModel
from twinjax.patient import VirtualCourse
from twinjax.solver import StrangSplitting
from twinjax.treatment import Chemotherapy, Regimen

KEY = jax.random.key(5)
QUIET = LevenbergMarquardt(estimate_noise=False)
EXACT = ImportanceSampler(proposals=400, draws=1000, progress=False, mode=QUIET)
GROWTH = {
    "proliferation_rate": {"distribution": ("lognormal", 0.004, 0.6), "where": "model.proliferation_rate"},
    "cisplatin_sensitivity": {"distribution": ("lognormal", 0.1, 0.5), "where": "regimen.cisplatin.sensitivity"},
    "initial_size": {"distribution": ("lognormal", 1.0, 0.12), "where": "initial.ratio"},
}
# A drug is given from day 65 on: its parameter, the second of the prior, appears with the visits after.
PATIENT = VirtualCourse(
    "course",
    VolumeModel(proliferation_rate=0.006),
    2000.0,
    {"volume_mm3": [0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0]},
    {"volume_mm3": 0.12},
    Regimen([Chemotherapy([65.0, 72.0, 79.0], 75.0, drug="cisplatin", sensitivity=0.14, clearance_rate=0.7)]),
).generate()


def course(until):
    return course_problem(PATIENT.until(until), VolumeModel(), Prior(GROWTH))


def flat(posterior):
    return posterior.z.reshape(-1, posterior.z.shape[-1])


def assert_equal(posterior: Posterior, batch: Posterior):
    """Means and deviations within four standard errors of Monte Carlo, of the effective draws that each has."""
    effective = min(min(p.diagnostics["ess"].values()) for p in (posterior, batch))
    error = 4 * np.sqrt(2 / effective)
    deviation = flat(batch).std(0)
    np.testing.assert_array_less(np.abs(flat(posterior).mean(0) - flat(batch).mean(0)), error * deviation)
    np.testing.assert_allclose(flat(posterior).std(0), deviation, rtol=error)
    assert posterior.names == batch.names


@pytest.fixture(scope="module")
def batch():
    """Day to the posterior of a fit from zero."""
    return {day: EXACT.fit(course(day), key=jax.random.key(int(day))) for day in (45.0, 90.0)}


@pytest.fixture(scope="module")
def visits(batch):
    """Day to the posterior after that visit, one after the other."""
    first = assimilate(batch[45.0], course(60.0), EXACT, key=KEY)
    return {60.0: first, 90.0: assimilate(first, course(90.0), EXACT, key=jax.random.key(6), effective=40.0)}


@pytest.mark.thorough
def test_visits_in_sequence_give_the_batch_posterior(visits, batch):
    """Both by weights alone; the drug's parameter appears with the second, and keeps its place in the prior."""
    assert visits[60.0].names == ("proliferation_rate", "initial_size")
    assert visits[90.0].names == ("proliferation_rate", "cisplatin_sensitivity", "initial_size")
    assert_equal(visits[90.0], batch[90.0])
    np.testing.assert_allclose(visits[90.0].z_map, batch[90.0].z_map, atol=0.02)
    records = visits[90.0].diagnostics["assimilation"]
    assert [record["new_days"] for record in records] == [[60.0], [75.0, 90.0]]
    assert {record["by"] for record in records} == {"reweighting"}
    assert all("stay effective, Pareto k" in record["because"] for record in records)
    assert (
        visits[90.0].diagnostics["method"]
        == "reweighted draws of importance sampling from normal curves along the ridges"
    )
    # Draws wear out.
    assert records[1]["effective"] < records[0]["effective"]


def test_draws_wear_out_and_are_then_fitted_anew(batch):
    """A threshold that the draws cannot meet, and an earlier posterior that had not converged."""
    strict = assimilate(batch[45.0], course(90.0), EXACT, key=KEY, effective=1e6)
    assert strict.diagnostics["assimilation"][-1]["by"] == "fit from the old mode"
    assert "effective (wanted" in strict.diagnostics["assimilation"][-1]["because"]
    assert_equal(strict, batch[90.0])
    doubtful = replace(batch[45.0], diagnostics={**batch[45.0].diagnostics, "converged": False})
    again = assimilate(doubtful, course(90.0), EXACT, key=KEY)
    assert "had not converged" in again.diagnostics["assimilation"][-1]["because"]


def test_resampled_draws_count_once(batch):
    """A posterior of a hundred draws, each ten times, has no thousand of them to lose."""
    few = batch[45.0].z.reshape(-1, 2)[:100]
    copies = np.repeat(few, 10, axis=0).reshape(2, -1, 2)
    worn = replace(batch[45.0], z=copies, diagnostics={**batch[45.0].diagnostics, "ess": {"a": 1000.0}})
    for day in (60.0, 90.0):
        record = assimilate(worn, course(day), EXACT, key=KEY, effective=1.0).diagnostics["assimilation"][-1]
        assert record["effective"] <= 100


def on_line(days, **options):
    data = [
        Datum(day, "density", density, np.arange(line.N))
        for day, density in zip(line.DAYS, line.DENSITIES, strict=True)
        if day <= days
    ]
    # Three times the usual noise and long steps: a posterior wide enough to move, solves that are quick.
    return line.problem(data=data, noise_std=0.15, max_step=5.0, **options)


@pytest.mark.parametrize(
    ("days", "estimate_noise"),
    [
        pytest.param((30.0, 45.0), False, marks=pytest.mark.thorough),
        pytest.param((15.0, 30.0, 45.0), True, marks=pytest.mark.slow),
    ],
    ids=["two scans", "three scans, noise estimated"],
)
def test_scans_in_sequence_give_the_batch_posterior(days, estimate_noise):
    """The Fisher-KPP equation on a line, by the Laplace approximation."""
    calibrator = LevenbergMarquardt(draws=1000, estimate_noise=estimate_noise)
    posterior = calibrator.fit(on_line(days[0]), key=KEY)
    for day in days[1:]:
        posterior = assimilate(
            posterior, on_line(day), calibrator, key=jax.random.key(int(day)), solves=150, effective=50.0
        )
    assert len(posterior.diagnostics["assimilation"]) == len(days) - 1
    assert_equal(posterior, calibrator.fit(on_line(45.0), key=jax.random.key(1)))


@pytest.mark.thorough
def test_a_raised_noise_level_weighs_all_data_anew(batch):
    """Then all data count, not the new ones alone; the prior of what both know, which is the same, cancels."""
    old, new = batch[45.0].problem, batch[90.0].problem
    z_new = flat(batch[90.0])[:20]
    z_old = z_new[:, [0, 2]]
    raised = eqx.tree_at(lambda p: p.tumor.observation["volume_mm3"].noise_std, new, jnp.asarray(0.2))
    added = _added(old, new)
    latest = datum_log_likelihoods(new, z_new)[:, added].sum(axis=1)
    assert len(added) == 3
    np.testing.assert_allclose(_log_ratio(old, new, z_old, z_new), latest, rtol=1e-12)
    densities = [log_densities(p, np.asarray(z)) for p, z in ((raised, z_new), (old, z_old))]
    unseen = norm.logpdf(z_new[:, 1])
    np.testing.assert_allclose(_log_ratio(old, raised, z_old, z_new), densities[0] - unseen - densities[1], rtol=1e-9)


@pytest.mark.slow
def test_a_chain_is_fitted_anew_from_the_new_mode(batch):
    sampler = NoUTurnSampler(samples=300, warmup=30, progress=False, mode=QUIET)
    found = assimilate(batch[45.0], course(90.0), sampler, key=KEY, effective=1e6)
    assert found.diagnostics["method"] == "NUTS" and found.diagnostics["r_hat"] is not None
    assert_equal(found, batch[90.0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["low_grade_glioma", "claret", "prostate_androgen_deprivation", "pancreas", "lung_volume"]
)
def test_a_cancer_without_space_in_sequence(model):
    """The virtual patients of conf/patient, two visits after the other, under the priors of conf/prior."""
    patient, prior = load_named("patient", f"virtual_{model}").generate(), load_named("prior", model)
    days = patient.days[: min(len(patient.days), 10)]

    def problem(day):
        return course_problem(patient.until(day), load_named("model", model), prior)

    calibrator = replace(EXACT, proposals=800)
    posterior = calibrator.fit(problem(days[-3]), key=KEY)
    for day in days[-2:]:
        posterior = assimilate(posterior, problem(day), calibrator, key=jax.random.key(int(day)))
    whole = calibrator.fit(problem(days[-1]), key=jax.random.key(1))
    if whole.diagnostics["converged"] and posterior.diagnostics["converged"]:
        assert_equal(posterior, whole)
    # What is not to be trusted says so on both ways.
    assert whole.diagnostics["converged"] == posterior.diagnostics["converged"]


@pytest.mark.slow
def test_scans_of_a_breast_in_sequence():
    """A spatial patient on a grid of 4 mm: old scans are read on a wider box beside the new one."""
    described = load_named("patient", "virtual_triple_negative_breast")
    coarse = described.model.on(described.model.domain.resampled(4.0))
    patient = replace(described, model=coarse, visit_days=(0, 21, 42, 63), scan_voxel_mm=(4.0, 4.0, 4.0)).generate()
    template = load_named("model", "triple_negative_breast", domain=patient.brain_mask)
    model, prior = template.on(template.domain.resampled(4.0)), load_named("prior", "triple_negative_breast")

    def problem(day):
        return longitudinal_problem(patient.until(day), model, prior, solver=StrangSplitting(), max_step=3.5)

    calibrator = ImportanceSampler(proposals=300, draws=600, progress=False)
    posterior = calibrator.fit(problem(42), key=KEY)
    found = assimilate(posterior, problem(63), calibrator, key=jax.random.key(1))
    whole = calibrator.fit(problem(63), key=jax.random.key(2))
    assert found.names == whole.names and "paclitaxel_sensitivity" in found.names
    assert_equal(found, whole)


def wrong_prior():
    return Prior({**GROWTH, "initial_size": {"distribution": ("lognormal", 1.0, 0.3), "where": "initial.ratio"}})


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (lambda: course(45.0), "no data that the posterior was not fitted to"),
        (lambda: course(30.0), "no data of day 45"),
        (lambda: course_problem(PATIENT.until(60.0), VolumeModel(), wrong_prior()), "prior of initial_size"),
        (
            lambda: course_problem(
                PATIENT.until(60.0), VolumeModel(), Prior({k: v for k, v in GROWTH.items() if k != "initial_size"})
            ),
            "no parameter initial_size",
        ),
        (lambda: on_line(45.0), "no parameter initial_size"),
    ],
    ids=["nothing new", "less", "another prior", "a parameter less", "another model"],
)
def test_a_problem_that_does_not_continue_the_first_is_refused(batch, problem, message):
    with pytest.raises(InputError, match=message):
        assimilate(batch[45.0], problem(), EXACT, key=KEY)


def test_a_posterior_without_its_problem_and_another_start_are_refused(batch):
    with pytest.raises(InputError, match="attached to its problem"):
        assimilate(replace(batch[45.0], problem=None), course(60.0), EXACT, key=KEY)
    later = replace_start(course(60.0))
    with pytest.raises(InputError, match="starts from another tumour"):
        assimilate(batch[45.0], later, EXACT, key=KEY)
    with pytest.raises(InputError, match="solves at least 100"):
        assimilate(batch[45.0], course(60.0), EXACT, key=KEY, solves=10)


def replace_start(problem):
    return eqx.tree_at(lambda p: p.whole.initial.measured, problem, problem.whole.initial.measured * 1.1)
