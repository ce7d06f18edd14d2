"""What a report says of progression, of days that are known."""

import numpy as np
import pytest

from twinjax.report.progression import criterion_words, progression_sentence, progression_table
from twinjax.twin.criteria import criterion_for
from twinjax.twin.time_to_progression import ProgressionForecast


def made(*days: float, quantity: str = "psa_ng_ml") -> ProgressionForecast:
    return ProgressionForecast(quantity, criterion_for(quantity), 0.0, 60.0, 160.0, np.array(days))


@pytest.mark.parametrize(
    ("days", "sentence"),
    [
        ((10.0, 20.0, 100.0), "The PSA is expected to progress 20 days after day 60 (PCWG3; 90 % interval 10 to"),
        ((10.0, 100.0, 100.0), "The PSA is not expected to progress by day 160 (PCWG3): it does not in 67 %"),
        ((0.0, 0.0, 5.0), "The PSA has progressed by day 60 already, over the smallest since day 0, in 67 %"),
    ],
)
def test_the_summary_tells_what_is_expected(days, sentence):
    assert progression_sentence(made(*days)).startswith(sentence)


def test_the_table_tells_every_criterion_once():
    table = progression_table([made(10.0, 20.0, 100.0), made(5.0, 6.0, 7.0, quantity="diameter_mm")])
    assert [row[1] for row in table.rows] == ["PCWG3", "RECIST 1.1"]
    assert table.rows[0][2:] == ["20", "10 to after day 160", "0 %", "33 %"]
    assert table.columns[2] == "days after day 60, median" and table.columns[-1] == "not by day 160"
    assert table.caption.count("Progression:") == 2 and "Scher et al. 2016" in table.caption


def test_what_has_no_criterion_says_so():
    words = criterion_words(criterion_for("ca19_9_u_ml"), "that of the decision")
    assert words == (
        "Progression: 40 % above that of the decision; our own choice: no published criterion is known for this "
        "quantity."
    )
