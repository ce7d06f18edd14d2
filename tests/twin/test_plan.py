"""Target volumes: equal in size, and as the protocol of PREDICT-GBM has them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinjax.core.errors import InputError
from twinjax.twin import equal_volume_plan, recurrence_coverage, standard_plan

SHAPE = (14, 12, 10)
RNG = np.random.default_rng(0)


def test_the_standard_margin_is_15_mm_between_centres():
    core, brain = np.zeros((40, 3, 12), bool), np.ones((40, 3, 12), bool)
    core[20, 1, 6] = True
    plan = standard_plan(core, brain, (1.0, 5.0, 3.0))
    assert np.flatnonzero(plan[:, 1, 6]).tolist() == list(range(5, 36))
    assert np.flatnonzero(plan[20, 1, :]).tolist() == list(range(1, 12))
    # 5 mm aside only sqrt(200) = 14.1 mm are left.
    assert np.flatnonzero(plan[:, 0, 6]).tolist() == list(range(6, 35))
    brain[:15] = False
    assert not standard_plan(core, brain, (1.0, 5.0, 3.0))[:15].any()
    assert standard_plan(core, brain, (1.0, 5.0, 3.0), margin_mm=4.0).sum() == 9 + 2 * 5


def test_an_empty_core_has_no_plan():
    with pytest.raises(InputError, match="core is empty"):
        standard_plan(np.zeros(SHAPE, bool), np.ones(SHAPE, bool), (1.0, 1.0, 1.0))


@given(st.integers(1, 1400), st.integers(0, 2**16))
def test_the_plans_have_equal_volume_inside_the_brain(size, seed):
    rng = np.random.default_rng(seed)
    brain = rng.uniform(size=SHAPE) < 0.9
    # Half of the tissue has one and the same density: ties must not change the volume.
    density = np.where(rng.uniform(size=SHAPE) < 0.5, 0.5, rng.uniform(0.01, 1, size=SHAPE))
    standard = np.zeros(brain.size, bool)
    standard[rng.permutation(brain.size)[:size]] = True
    standard = standard.reshape(SHAPE) & brain
    if not standard.any():
        return
    plan = equal_volume_plan(density, brain, standard)
    assert plan.model.sum() == plan.standard.sum() == standard.sum()
    assert not (plan.model & ~brain).any()
    rest = brain & ~plan.model
    if rest.any():
        assert density[plan.model].min() >= density[rest].max()


def test_a_standard_plan_beyond_the_brain_counts_only_inside():
    density, brain = RNG.uniform(0.1, 1, size=SHAPE), np.ones(SHAPE, bool)
    brain[:7] = False
    standard = np.zeros(SHAPE, bool)
    standard[6:8] = True
    plan = equal_volume_plan(density, brain, standard)
    assert plan.model.sum() == (standard & brain).sum() == 120
    np.testing.assert_array_equal(plan.standard, standard & brain)


def test_fluid_takes_the_density_of_the_nearest_tissue():
    brain = np.ones((9, 1, 1), bool)
    density = np.array([0.9, 0.8, 0.0, 0.7, 0.6, 0.5, 0.0, 0.4, 0.3]).reshape(9, 1, 1)
    standard = np.zeros((9, 1, 1), bool)
    standard[:4] = True
    plan = equal_volume_plan(density, brain, standard)
    assert np.flatnonzero(plan.model).tolist() == [0, 1, 2, 3]


def test_no_density_is_no_plan():
    density, brain = np.zeros(SHAPE), np.ones(SHAPE, bool)
    density[0, 0, 0], brain[0, 0, 0] = 1.0, False
    with pytest.raises(InputError, match="zero everywhere"):
        equal_volume_plan(density, brain, brain)


def test_an_empty_standard_is_no_plan():
    brain = np.ones(SHAPE, bool)
    brain[:3] = False
    with pytest.raises(InputError, match="standard plan is empty"):
        equal_volume_plan(RNG.uniform(0.1, 1, size=SHAPE), brain, ~brain)


def test_recurrence_coverage():
    plan, recurrence = np.array([1, 1, 1, 0, 0], bool), np.array([0, 0, 1, 1, 1])
    assert recurrence_coverage(plan, recurrence) == pytest.approx(1 / 3)
    assert recurrence_coverage(plan, np.zeros(5)) == 1.0
    assert recurrence_coverage(np.zeros(5, bool), recurrence) == 0.0
