"""Over which visit the job's progression is counted."""

import numpy as np
import pytest

from twinjax.job.progression import after_radiotherapy
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

COURSE = Radiotherapy(np.arange(17.0, 59.0), np.full(42, 1.4))


@pytest.mark.parametrize(
    ("treatments", "until", "baseline"),
    [
        ((COURSE,), 95.0, 60.0),
        ((COURSE, Chemotherapy([80.0], [75.0])), 140.0, 60.0),
        # Not a second course that comes only after the forecast begins.
        ((COURSE, Radiotherapy([120.0], [2.0])), 95.0, 60.0),
        ((COURSE, Radiotherapy([120.0], [2.0])), 140.0, 140.0),
        # No visit since the last fraction.
        ((COURSE,), 59.0, None),
        ((Chemotherapy([20.0], [75.0]),), 95.0, None),
        ((), 95.0, None),
    ],
)
def test_the_first_visit_after_radiotherapy_is_the_baseline(treatments, until, baseline):
    assert after_radiotherapy(Regimen(treatments), [0.0, 14.0, 60.0, 95.0, 140.0], until=until) == baseline
