"""A scanned tumour as the few numbers that a model without space is fitted to."""

import numpy as np
import pytest

from twinjax.calibration import course_problem
from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.imaging.features import measure_volume
from twinjax.imaging.scan import Scan
from twinjax.observation.quantity import SCATTER
from twinjax.patient import ClinicalCourse, PatientData, Visit, course_of_sizes
from twinjax.treatment import Radiotherapy, Regimen

DAYS, RADII = (0.0, 20.0, 50.0), (9.0, 8.0, 10.5)
REGIMEN = Regimen((Radiotherapy([3.0], [2.0]), Radiotherapy([30.0], [2.0])))


def ball(radius: float, spacing=(1.0, 1.0, 2.0), label: int = 3) -> Scan:
    shape = tuple(round(40 / h) for h in spacing)
    axes = [(np.arange(n) - n / 2 + 0.5) * h for n, h in zip(shape, spacing, strict=True)]
    index = np.stack(np.meshgrid(*axes, indexing="ij"))
    labels = np.where(np.linalg.norm(index, axis=0) < radius, label, 0).astype(np.int8)
    return Scan(np.diag([*spacing, 1.0]), {}, labels, brain_mask=np.ones(shape, bool))


def patient(spacing=(1.0, 1.0, 2.0), label: int = 3, measurements=({}, {}, {})) -> PatientData:
    scans = [ball(radius, spacing, label) for radius in RADII]
    visits = [Visit(day, scan, values) for day, scan, values in zip(DAYS, scans, measurements, strict=True)]
    return PatientData.from_visits("synthetic", visits, REGIMEN, source="synthetic")


@pytest.mark.parametrize("label", [3, 2], ids=["core", "without a core"])
def test_the_size_is_that_of_the_segmentation(label):
    scanned = patient(label=label)
    volumes = course_of_sizes(scanned, "volume_mm3")
    days, values = volumes.measurements["volume_mm3"]
    np.testing.assert_array_equal(days, DAYS)
    np.testing.assert_allclose(values, [2.0 * visit.scan.whole_tumor.sum() for visit in scanned.visits])
    assert volumes.regimen is REGIMEN
    assert volumes.source == "synthetic"
    sums = course_of_sizes(patient(label=label), "sum_of_diameters_mm")
    # Between the centres of the outermost voxels.
    np.testing.assert_allclose(sums.measurements["sum_of_diameters_mm"][1], 2 * np.asarray(RADII), atol=1.5)


def test_what_voxels_leave_open_is_noise_of_the_fit():
    model, prior = load_named("model", "lung_volume"), load_named("prior", "lung_volume")
    usual, levels = SCATTER["volume_mm3"][0], []
    for spacing in ((1.0, 1.0, 1.0), (2.0, 2.0, 5.0)):
        scanned = patient(spacing)
        course = course_of_sizes(scanned, "volume_mm3")
        volumes = [measure_volume(visit.scan.core, visit.scan.affine) for visit in scanned.visits]
        relative = np.sqrt(np.mean([(one.standard_deviation / one.value) ** 2 for one in volumes]))
        assert course.reading_error["volume_mm3"] == pytest.approx(relative)
        problem = course_problem(course, model, prior)
        levels.append(float(problem.tumor.observation["volume_mm3"].noise_std))
        assert levels[-1] == pytest.approx(np.hypot(usual, relative))
        stated = course_problem(course, model, prior, noise={"volume_mm3": 0.07})
        assert float(stated.tumor.observation["volume_mm3"].noise_std) == pytest.approx(0.07)
    assert usual < levels[0] < 0.8 * levels[1]


def test_earlier_visits_keep_it():
    course = course_of_sizes(patient(), "volume_mm3")
    past = course.until(20)
    assert past.reading_error == course.reading_error
    assert past.days.tolist() == [0, 20]
    assert len(past.regimen.treatments) == 1


def test_laboratory_values_come_along():
    measured = ({"psa_ng_ml": 12.0, "volume_mm3": 1.0}, {"psa_ng_ml": "<0.1"}, {})
    course = course_of_sizes(patient(measurements=measured), "volume_mm3")
    assert course.entries("psa_ng_ml") == [12.0, "<0.1"]
    # The scan's own volume stands in place of one that was noted.
    assert course.measurements["volume_mm3"][1].size == 3
    noted = course_of_sizes(patient(measurements=measured), "psa_ng_ml")
    assert set(noted.measurements) == {"psa_ng_ml", "volume_mm3"}
    assert noted.reading_error == {}


def test_what_scans_do_not_show_is_asked_for():
    with pytest.raises(InputError, match=r"starts from psa_ng_ml, which scans do not show .* laboratory value"):
        course_of_sizes(patient(), "psa_ng_ml")


@pytest.mark.parametrize("error", [-0.1, np.nan], ids=str)
def test_a_reading_error_is_a_positive_number_of_a_measured_quantity(error):
    with pytest.raises(InputError, match="reading_error of volume_mm3: give a number >= 0"):
        ClinicalCourse("A", {"volume_mm3": ([0, 1], [1.0, 2.0])}, reading_error={"volume_mm3": error})
    with pytest.raises(InputError, match="reading_error of diameter_mm: .* that was measured"):
        ClinicalCourse("A", {"volume_mm3": ([0, 1], [1.0, 2.0])}, reading_error={"diameter_mm": 0.1})
