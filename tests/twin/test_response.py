"""The chance of a complete response is the share of draws that leave almost no cells."""

import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.twin import Forecast
from twinjax.twin.response import THRESHOLD_MM3, complete_response

CELLS = np.asarray([[900.0, 10.0], [800.0, 60.0], [700.0, 70.0], [600.0, 500.0], [500.0, 5.0]])


def forecast(cells) -> Forecast:
    empty = np.zeros((2, 2, 2, 2))
    domain = Domain(np.ones((2, 2, 2)), (1.0, 1.0, 1.0))
    return Forecast(np.asarray([42.0, 140.0]), empty, empty, {}, {"cell_volume_mm3": cells}, domain, {}, 0)


def test_it_is_the_share_of_draws_below_the_threshold():
    assert pytest.approx(65.45, abs=0.01) == THRESHOLD_MM3
    response = complete_response(forecast(CELLS), 140.0)
    assert (response.probability, response.draws) == (0.6, 5)
    assert response.cell_volume_mm3[1] == 60.0
    assert response.lower < 0.6 < response.upper
    assert complete_response(forecast(CELLS), 140.0, threshold_mm3=8.0).probability == 0.2
    # Jeffreys' interval of 3 in 5: the quantiles of Beta(3.5, 2.5).
    draws = np.random.default_rng(0).beta(3.5, 2.5, 200_000)
    np.testing.assert_allclose([response.lower, response.upper], np.quantile(draws, [0.05, 0.95]), atol=3e-3)


def test_certainty_is_bounded_on_one_side_alone():
    none = complete_response(forecast(CELLS), 42.0)
    assert (none.probability, none.lower) == (0.0, 0.0) and 0.1 < none.upper < 0.5
    sure = complete_response(forecast(CELLS), 140.0, threshold_mm3=1e4)
    assert (sure.probability, sure.upper) == (1.0, 1.0) and sure.lower > 0.5


@pytest.mark.parametrize(("day", "threshold", "message"), [(100.0, 65.0, "days"), (140.0, 0.0, "threshold_mm3")])
def test_bad_questions_are_refused(day, threshold, message):
    with pytest.raises(InputError, match=message):
        complete_response(forecast(CELLS), day, threshold_mm3=threshold)
