"""Protocols: the named ones of conf/treatment, and the schedules that they are written in."""

import numpy as np
import pytest

from twinjax.core.config import choices, load_named
from twinjax.core.errors import InputError
from twinjax.treatment import (
    CheckpointBlockade,
    Chemotherapy,
    Radiotherapy,
    Regimen,
    chemotherapy_cycles,
    protocol,
    radiotherapy_course,
)


def test_stupp():
    """Stupp et al. 2005: 30 x 2 Gy on weekdays over 6 weeks, 42 x 75 mg/m², 6 cycles of 5 days."""
    fractions, concomitant, adjuvant = load_named("treatment", "stupp").treatments
    assert isinstance(fractions, Radiotherapy)
    assert fractions.times.size == 30
    np.testing.assert_allclose(fractions.doses.sum(), 60)
    assert set(np.asarray(fractions.times) % 7) == {0, 1, 2, 3, 4}
    assert (fractions.times.min(), fractions.times.max()) == (0, 39)
    np.testing.assert_array_equal(concomitant.times, np.arange(42))
    np.testing.assert_array_equal(concomitant.doses, 75)
    np.testing.assert_array_equal(adjuvant.times, [70 + 28 * c + d for c in range(6) for d in range(5)])
    np.testing.assert_array_equal(adjuvant.doses, [150] * 5 + [200] * 25)
    assert {concomitant.name, adjuvant.name} == {"temozolomide"}


def test_hypofractionated():
    """Perry et al. 2017: 40.05 Gy in 15 fractions of three weeks, 21 x 75 mg/m² with them."""
    fractions, concomitant, adjuvant = load_named("treatment", "hypofractionated").treatments
    assert fractions.times.size == 15
    np.testing.assert_allclose(fractions.doses.sum(), 40.05)
    assert fractions.times.max() == 18
    assert (concomitant.times.size, concomitant.times.max()) == (21, 20)
    np.testing.assert_array_equal(concomitant.doses, 75)
    assert adjuvant.burden() == {"doses": 30, "total_dose_mg_m2": 5750.0}


@pytest.mark.parametrize("name", choices("treatment"))
def test_every_named_protocol_counts_from_its_first_day(name):
    regimen = load_named("treatment", name)
    assert isinstance(regimen, Regimen)
    assert min((float(t.times.min()) for t in regimen.treatments), default=0.0) == 0.0
    assert (name == "none") == (regimen.treatments == ())


def test_course_skips_weekends():
    (course,) = radiotherapy_course(10.0, 6, 2.0, start_weekday=3, alpha=0.05).treatments
    assert isinstance(course, Radiotherapy)
    # Thursday and Friday, then from Monday on.
    np.testing.assert_array_equal(course.times, [10, 11, 14, 15, 16, 17])
    assert float(course.alpha) == 0.05
    (daily,) = radiotherapy_course(10.0, 6, 2.0, weekdays_only=False).treatments
    np.testing.assert_array_equal(daily.times, np.arange(10, 16))


def test_course_on_alternate_days_waits_for_monday():
    """Five fractions from a Wednesday: Wednesday, Friday, and the week after Monday, Wednesday, Friday."""
    (course,) = radiotherapy_course(0.0, 5, 10.0, start_weekday=2, interval_days=2).treatments
    np.testing.assert_array_equal(course.times, [0, 2, 5, 7, 9])
    with pytest.raises(InputError, match="interval_days must be at least 1, got 0"):
        radiotherapy_course(0.0, 5, 10.0, interval_days=0)


def test_keynote_522():
    """Schmid et al. 2020: 24 weeks, eight doses of the antibody; AC after week 12."""
    antibody, paclitaxel, carboplatin, doxorubicin, cyclophosphamide = load_named("treatment", "keynote_522").treatments
    assert isinstance(antibody, CheckpointBlockade)
    np.testing.assert_array_equal(antibody.times, 21 * np.arange(8))
    np.testing.assert_array_equal(antibody.doses, 200)
    np.testing.assert_array_equal(paclitaxel.times, 7 * np.arange(12))
    np.testing.assert_array_equal(carboplatin.times, 21 * np.arange(4))
    for drug, dose in ((doxorubicin, 60), (cyclophosphamide, 600)):
        np.testing.assert_array_equal(drug.times, 84 + 21 * np.arange(4))
        np.testing.assert_array_equal(drug.doses, dose)


@pytest.mark.parametrize(
    ("name", "fractions", "total", "last_day"),
    [
        ("sbrt_54_3", 3, 54, 4),
        ("sbrt_48_4", 4, 48, 3),
        ("sbrt_50_5", 5, 50, 9),
        ("prostate_78_39", 39, 78, 52),
        ("prostate_60_20", 20, 60, 25),
        ("prostate_36_25_5", 5, 36.25, 9),
        ("pancreas_sbrt_33_5", 5, 33, 4),
        ("cisplatin_etoposide_chemoradiation", 30, 60, 39),
        ("carboplatin_paclitaxel_chemoradiation", 30, 60, 39),
    ],
)
def test_radiotherapy_of_lung_prostate_and_pancreas(name, fractions, total, last_day):
    course = load_named("treatment", name).treatments[0]
    assert isinstance(course, Radiotherapy)
    assert (course.times.size, float(course.times.max())) == (fractions, last_day)
    np.testing.assert_allclose(course.doses.sum(), total)


def test_cycles():
    (drug,) = chemotherapy_cycles(5.0, 2, 21.0, [1, 8], [50.0, 40.0], drug="cisplatin", sensitivity=0.4).treatments
    assert isinstance(drug, Chemotherapy)
    np.testing.assert_array_equal(drug.times, [5, 12, 26, 33])
    np.testing.assert_array_equal(drug.doses, [50, 50, 40, 40])
    assert (drug.name, float(drug.sensitivity)) == ("cisplatin", 0.4)
    (same,) = chemotherapy_cycles(0.0, 3, 7.0, [1], [80.0]).treatments
    np.testing.assert_array_equal(same.doses, [80.0] * 3)


def test_protocol_starts_on_its_day():
    whole = protocol([radiotherapy_course(0, 2, 2.0), chemotherapy_cycles(9, 1, 28, [1], [75.0])], start_day=20.0)
    assert [t.times.tolist() for t in whole.treatments] == [[20, 21], [29]]
    assert protocol([]).treatments == ()


def test_impossible_schedules_are_refused():
    with pytest.raises(InputError, match="fractions must be at least 1, got 0"):
        radiotherapy_course(0.0, 0, 2.0)
    with pytest.raises(InputError, match="cycles must be at least 1"):
        chemotherapy_cycles(0.0, 0, 28.0, [1], [75.0])
    with pytest.raises(InputError, match="3 cycles but 2 doses"):
        chemotherapy_cycles(0.0, 3, 28.0, [1], [75.0, 100.0])
    with pytest.raises(InputError, match="every dose"):
        radiotherapy_course(0.0, 3, -2.0)
