"""The inverse problem of a patient as numbers over time: what it cannot start from is refused."""

import pytest

from twinjax.calibration import course_problem
from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.model import ClaretInhibition
from twinjax.patient import ClinicalCourse

ONCE = {"sum_of_diameters_mm": ([0], [84])}


@pytest.mark.parametrize("measured", [{"psa_ng_ml": ([0, 30], [4, 5])}, ONCE], ids=["another quantity", "one day"])
def test_a_model_without_its_size_tells_what_it_observes(measured):
    told = (
        "needs sum_of_diameters_mm on at least two days; A has .* observes diameter_mm, sum_of_diameters_mm, volume_mm3"
    )
    with pytest.raises(InputError, match=told):
        course_problem(ClinicalCourse("A", measured), ClaretInhibition(), load_named("prior", "claret"))
