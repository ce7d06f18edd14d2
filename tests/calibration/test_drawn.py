"""Virtual patients drawn from a prior: equal seeds give equal patients, and all share the compiled programs."""

from dataclasses import replace

import diffrax
import jax
import numpy as np
import pytest

from twinjax.calibration import course_problem
from twinjax.calibration.drawn import RATIOS, drawn_course, drawn_organ, drawn_patient
from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.model import ClaretInhibition
from twinjax.patient import ClinicalCourse


@pytest.fixture(scope="module")
def described():
    return replace(load_named("patient", "virtual_claret"), schedule={"sum_of_diameters_mm": [0, 42, 84, 126]})


def problem(course):
    model = ClaretInhibition(growth_rate=0.001, drug_kill_rate=0.01, resistance_rate=0.02)
    # Everything is made anew, as for every patient of a cohort.
    return course_problem(course, model, load_named("prior", "claret"), solver=diffrax.Tsit5())


@pytest.mark.thorough
def test_equal_seeds_give_equal_patients(described):
    prior = load_named("prior", "claret")
    first, again, other = (drawn_patient(described, prior, seed, f"P{seed}") for seed in (3, 3, 4))
    assert first.truth == again.truth != other.truth
    assert first.patient_id == "P3" and set(first.truth) == {"growth_rate", "drug_kill_rate", "resistance_rate"}
    size = "sum_of_diameters_mm"
    np.testing.assert_array_equal(*(one.generate().measurements[size][1] for one in (first, again)))
    assert float(first.model.growth_rate) == pytest.approx(first.truth["growth_rate"], rel=1e-6)


def test_a_course_is_drawn_from_the_prior(described):
    prior = load_named("prior", "claret")
    logs = [np.log(drawn_course(described, prior, seed)[0].truth["growth_rate"] / 0.00107) / 0.8 for seed in range(24)]
    # Standard normal: mean and deviation within three of their own errors.
    assert abs(np.mean(logs)) < 3 / np.sqrt(24) and abs(np.std(logs) - 1) < 3 / np.sqrt(48)


def test_the_size_at_the_start_is_part_of_the_truth_of_an_experiment(described):
    drawn, known = drawn_course(described, load_named("prior", "claret"), 0)
    assert set(drawn.truth) == set(known.names) and set(RATIOS) & set(drawn.truth)


def test_an_organ_is_drawn_about_its_own_truth():
    organ, prior = load_named("patient", "virtual_prostate"), load_named("prior", "prostate")
    found = [drawn_organ(organ, prior, seed) for seed in (0, 1)]
    rates = [one.truth["proliferation_rate"] for one in found]
    assert rates[0] != rates[1] and all(abs(np.log(rate / 0.0028)) < 1.5 for rate in rates)
    assert [float(one.model.proliferation_rate) for one in found] == pytest.approx(rates, rel=1e-6)


def test_a_scanned_patient_keeps_its_truth():
    patient = load_named("patient", "virtual_glioblastoma")
    found = drawn_patient(patient, load_named("prior", "glioblastoma"), 7, "P7")
    assert (found.patient_id, found.seed, found.diffusivity) == ("P7", 7, patient.diffusivity)


def test_a_real_patient_is_not_drawn():
    real = ClinicalCourse("a", {"volume_mm3": ([0, 1], [1.0, 2.0])})
    with pytest.raises(InputError, match="patient=virtual_"):
        drawn_patient(real, load_named("prior", "claret"), 0, "b")


def test_patients_of_one_shape_share_the_compiled_programs():
    """What is not an array is compiled into a program: of two patients it must be equal."""
    one, other = (
        problem(ClinicalCourse(name, {"sum_of_diameters_mm": (days, sizes)}))
        for name, days, sizes in (("a", [0, 42, 84], [90, 80, 70]), ("b", [3.5, 30, 99], [50, 60, 70.5]))
    )
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert [leaf.shape for leaf in jax.tree.leaves(one)] == [leaf.shape for leaf in jax.tree.leaves(other)]
    assert one.days.tolist() == [42, 84] and other.start == 3.5
    longer = problem(ClinicalCourse("c", {"sum_of_diameters_mm": ([0, 1, 2, 3], [1, 2, 3, 4])}))
    assert jax.tree.structure(one) != jax.tree.structure(longer)
