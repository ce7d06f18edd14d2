"""`DigitalTwin.assimilate`: the new twin, the change of its parameters, and a visit that was not foreseen."""

import bar
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import volume

from twinjax.calibration import Datum, LevenbergMarquardt
from twinjax.core.errors import InputError
from twinjax.domain import Sampling
from twinjax.twin.assimilation import Expected, expectations, surprises
from twinjax.twin.solution import measured_volume

QUIET = LevenbergMarquardt(estimate_noise=False, draws=400)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def twin():
    return volume.fitted(volume.problem())


@pytest.fixture(scope="module")
def foreseen(twin):
    return twin.assimilate(volume.problem({40.0: volume.expected(40.0)}), QUIET, key=KEY)


def test_the_new_twin_knows_more_and_the_old_one_stays(twin, foreseen):
    assert foreseen.twin is not twin and len(twin.problem.data) + 1 == len(foreseen.twin.problem.data)
    (rate,) = [row for row in foreseen.change if row["parameter"] == "proliferation_rate"]
    assert rate["width_left"] < 0.8 and abs(rate["shift"]) < 1
    before, after = (t.posterior.credible_interval(0.9)["proliferation_rate"] for t in (twin, foreseen.twin))
    assert (rate["lower_before"], rate["upper_before"]) == pytest.approx(before)
    assert (rate["lower_after"], rate["upper_after"]) == pytest.approx(after)


def test_a_visit_that_was_foreseen_warns_of_nothing(foreseen):
    (one,) = foreseen.expected
    assert (one.day, one.quantity) == (40.0, "volume_mm3") and one.inside
    assert one.measured == pytest.approx(volume.expected(40.0))
    assert foreseen.warnings == []


def test_a_visit_out_of_the_interval_is_told_with_its_reasons(twin):
    found = twin.assimilate(volume.problem({40.0: 4 * volume.expected(40.0)}), QUIET, key=KEY)
    (sentence,) = found.warnings
    assert "above the 90 % interval" in sentence and "pseudoprogression (38 days after radiotherapy)" in sentence
    (rate,) = [row for row in found.change if row["parameter"] == "proliferation_rate"]
    assert rate["shift"] > 1


def test_reasons_depend_on_side_and_time():
    low = Expected(100.0, "psa_ng_ml", 0.1, 1.0, 2.0, 3.0)
    high = Expected(100.0, "psa_ng_ml", 9.0, 1.0, 2.0, 3.0)
    radiotherapy = np.array([2.0, 200.0])
    (below,) = surprises([low], radiotherapy)
    (above,) = surprises([high], radiotherapy)
    assert "below the 90 % interval" in below and "record does not have" in below
    # 98 days after the last fraction before the visit.
    assert "resistance" in above and "pseudoprogression" not in above
    assert surprises([Expected(1.0, "psa_ng_ml", 2.0, 1.0, 2.0, 3.0)], radiotherapy) == []


def test_a_problem_without_a_new_visit_is_refused(twin):
    with pytest.raises(InputError, match="no data that the posterior was not fitted to already"):
        twin.assimilate(volume.problem(), QUIET, key=KEY)


def test_of_a_scan_volumes_are_compared():
    problem = bar.problem()
    prediction = bar.prediction(bar.slab(18, 30), bar.slab(10, 38))
    core = [datum for datum in problem.data if datum.day == 8.0 and datum.observation == "core"]
    (one,) = expectations(problem, core, prediction)
    assert one.quantity == "core_volume_mm3" and one.measured == (bar.START > 0.6).sum() * bar.DOMAIN.voxel_volume
    assert one.median == pytest.approx(12 * 16 * bar.DOMAIN.voxel_volume, rel=0.05)
    assert one.lower < one.median < one.upper


def test_the_larger_voxels_of_a_scan_count_in_full():
    """Twice as thick along the first axis: half as many voxels, each of twice the volume."""
    pairs = np.kron(np.eye(24), np.full((1, 2), 0.5))
    sampling = Sampling(tuple(map(jnp.asarray, (pairs, np.eye(4), np.eye(4)))), (4.0, 2.0, 2.0))
    datum = Datum(4.0, "core", np.ones(10), np.arange(10), sampling=sampling)
    assert measured_volume(datum, bar.DOMAIN) == 10 * 16.0
