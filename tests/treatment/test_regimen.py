"""`Regimen`: treatments together on one time axis, whole and in parts; operations."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen, Resection
from twinjax.treatment.regimen import require_regimen

CAVITY = np.zeros((6, 5, 4), bool)
CAVITY[2:4, 1:3, 1:3] = True
OTHER_CAVITY = np.roll(CAVITY, 2, axis=1)


def regimen():
    return Regimen(
        [
            Radiotherapy([10.0, 11.0, 14.0], [2.0, 2.0, 3.0]),
            Chemotherapy([10.0, 12.0, 40.0], 75.0, clearance_rate=0.5),
            Chemotherapy([30.0, 40.0], 150.0, clearance_rate=0.5),
            Resection(3.0, CAVITY),
        ]
    )


def doses(parts):
    """(name, day) of everything given."""
    return sorted((t.name, float(day)) for part in parts for t in part.treatments for day in t.times)


@settings(max_examples=12)
@given(day=st.one_of(st.sampled_from([3.0, 10.0, 12.0, 40.0]), st.floats(0, 50)))
def test_before_and_after_share_all_doses(day):
    """What is given on the day itself counts as after."""
    whole, parts = regimen(), (regimen().before(day), regimen().after(day))
    assert doses(parts) == doses([whole])
    assert all(when < day for _, when in doses(parts[:1]))
    assert all(when >= day for _, when in doses(parts[1:]))
    for t in (5.0, 10.0, 20.5, 45.0):
        np.testing.assert_allclose(sum(part.kill_rate(t) for part in parts), whole.kill_rate(t), rtol=1e-12)
        exposure = sum(part.exposure(2.0, t) for part in parts)
        np.testing.assert_allclose(exposure, whole.exposure(2.0, t), rtol=1e-12, atol=1e-15)


def test_rates_of_several_drugs_add():
    first, second = regimen().continuous
    np.testing.assert_allclose(regimen().kill_rate(41.0), first.kill_rate(41.0) + second.kill_rate(41.0))
    assert float(second.kill_rate(41.0)) > 0
    assert Regimen().kill_rate(1.0) == 0
    assert Regimen().exposure(0.0, 9.0) == 0


def test_shift_moves_everything():
    moved = regimen().shifted(7.5)
    assert doses([moved]) == [(name, day + 7.5) for name, day in doses([regimen()])]
    np.testing.assert_allclose(moved.exposure(17.5, 60.0), regimen().exposure(10.0, 52.5), rtol=1e-12)
    assert doses([regimen().shifted(-3.0)])[-1] == ("temozolomide", 37.0)
    with pytest.raises(InputError, match=">= 0"):
        regimen().shifted(-3.5)


def test_sum_of_regimens_is_both():
    both = regimen() + regimen().shifted(100)
    assert len(both.treatments) == 8
    assert [len(kind) for kind in (both.impulsive, both.continuous)] == [4, 4]


def test_burden_has_a_row_for_each_treatment():
    rows = regimen().burden()
    assert [row["treatment"] for row in rows] == ["radiotherapy", "temozolomide", "temozolomide", "resection"]
    assert [(row["first_day"], row["last_day"]) for row in rows] == [(10, 14), (10, 40), (30, 40), (3, 3)]
    assert rows[0]["total_dose_gy"] == 7.0
    assert rows[2]["total_dose_mg_m2"] == 300.0
    assert rows[3]["operations"] == 1


def test_tissue_is_open_until_it_is_removed():
    both = Regimen([Resection(3.0, CAVITY), Radiotherapy([1.0], 2.0), Resection(8.0, OTHER_CAVITY)])
    np.testing.assert_array_equal(both.open_tissue(2.9), np.ones(CAVITY.shape))
    np.testing.assert_array_equal(both.open_tissue(3.0), ~CAVITY)
    np.testing.assert_array_equal(both.open_tissue(9.0), ~CAVITY & ~OTHER_CAVITY)
    assert Regimen([Radiotherapy([1.0], 2.0)]).open_tissue(5.0) is None


def test_resection_removes_all_cells_of_the_cavity_and_no_other():
    np.testing.assert_array_equal(Resection(3.0, CAVITY).survival(0, jnp.ones(CAVITY.shape)), ~CAVITY)


def test_cavity_follows_the_grid_of_the_solver():
    """A cavity drawn on the scan keeps its place and volume on a coarse grid."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = [-20, 10, 5]
    cavity = np.zeros((24, 24, 24), bool)
    cavity[6:14, 4:16, 8:12] = True
    domain = Domain(np.ones(cavity.shape), (1.0, 1.0, 1.0), affine=affine).resampled(2.0)
    placed = Regimen([Resection(3.0, cavity, affine)]).on(domain).treatments[0]
    assert isinstance(placed, Resection)
    assert placed.cavity.shape == domain.shape
    expected = np.zeros(domain.shape, bool)
    expected[3:7, 2:8, 4:6] = True
    np.testing.assert_array_equal(placed.cavity, expected)
    assert float(placed.times[0]) == 3.0


def test_cavity_of_another_shape_is_refused():
    domain = Domain(np.ones((7, 7, 7)), (1.0, 1.0, 1.0))
    with pytest.raises(InputError, match=r"cavity has shape \(6, 5, 4\), the domain \(7, 7, 7\)"):
        Regimen([Resection(3.0, CAVITY)]).on(domain)


def test_an_operation_has_one_day_and_no_parts():
    with pytest.raises(InputError, match="one Resection per operation"):
        Resection([3.0, 4.0], CAVITY)
    with pytest.raises(InputError, match="every time"):
        Resection(-1.0, CAVITY)
    with pytest.raises(InputError, match="cannot be taken in part"):
        Resection(3.0, CAVITY).select(np.array([False]))


def test_what_counts_as_a_regimen():
    treatment = Radiotherapy([1.0], 2.0)
    assert require_regimen(None).treatments == ()
    assert require_regimen([treatment]).treatments[0] is treatment
    whole = regimen()
    assert require_regimen(whole) is whole
