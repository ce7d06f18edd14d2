"""The published criteria, each on an example by hand, and which of them an outcome has."""

import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.observation.quantity import SCATTER
from twinjax.twin.criteria import CRITERIA, criterion_for, ending_of

DAYS = np.array([0.0, 56.0, 112.0, 168.0])
SPHERE = np.pi / 6


def day(quantity, course, name=None, times=DAYS):
    """The day of progression; None where there is none."""
    found = float(criterion_for(quantity, name).progression_day(jnp.asarray(times), jnp.asarray(course)))
    return found if found < times[-1] else None


def visit(quantity, course, name=None, times=DAYS):
    """The first visit that sees progression, as an assessment would; None for none before the last."""
    found = day(quantity, course, name, times)
    return None if found is None else float(times[times >= found - 1e-9][0])


def test_rano_takes_40_percent_of_a_volume_over_the_smallest():
    """30 mL, a response to 10 mL, 13.9 mL is stable and 14 mL progression."""
    assert visit("core_volume_mm3", [30e3, 10e3, 13.9e3, 13.9e3]) is None
    assert visit("core_volume_mm3", [30e3, 10e3, 14.0e3, 20e3]) == 112.0
    # The baseline counts: 40 % above it without any response.
    assert visit("core_volume_mm3", [10e3, 14e3, 15e3, 16e3]) == 56.0
    # That is what 25 % of the product of diameters of a sphere are, RANO's other measure.
    np.testing.assert_allclose(1.25**1.5, 1.4, atol=0.003)


def test_rano_does_not_count_what_cannot_be_measured():
    """A sphere of 8 mm that doubles to 10.1 mm: it has become measurable; one of 6 mm to 7.6 mm has not."""
    assert visit("core_volume_mm3", SPHERE * np.array([8.0, 8.0, 10.08, 12.0]) ** 3) == 112.0
    assert visit("core_volume_mm3", SPHERE * np.array([6.0, 6.0, 7.56, 7.56]) ** 3) is None


def test_rano_of_a_mean_diameter_is_that_of_its_sphere():
    assert visit("diameter_mm", [50.0, 40.0, 44.7, 44.7], "rano_2_0") is None
    assert visit("diameter_mm", [50.0, 40.0, 44.8, 50.0], "rano_2_0") == 112.0


def test_recist_takes_20_percent_and_5_mm_of_a_sum_of_diameters():
    """A sum of 100 mm, a response to 50 mm: 59 mm is stable, 60 mm progression."""
    assert visit("sum_of_diameters_mm", [100.0, 50.0, 59.0, 59.0]) is None
    assert visit("sum_of_diameters_mm", [100.0, 50.0, 60.0, 70.0]) == 112.0
    # From 10 mm to 13 mm are 30 %, but 3 mm; to 15 mm they are 5 mm.
    assert visit("sum_of_diameters_mm", [40.0, 10.0, 13.0, 13.0]) is None
    assert visit("sum_of_diameters_mm", [40.0, 10.0, 15.0, 20.0]) == 112.0


def test_recist_of_a_volume_is_that_of_its_sphere():
    """73 % of a volume where 20 % of the diameter count, as RECIST 1.1 says itself; 5 mm where that is more."""
    assert visit("volume_mm3", [90e3, 50e3, 86.3e3, 86.3e3], "recist_1_1") is None
    assert visit("volume_mm3", [90e3, 50e3, 86.5e3, 99e3], "recist_1_1") == 112.0
    small = SPHERE * np.array([12.0, 10.0, 14.9, 15.1]) ** 3
    assert visit("volume_mm3", [*small, small[-1]], "recist_1_1", np.append(DAYS, 224.0)) == 168.0


def test_pcwg3_takes_25_percent_and_2_ng_ml_of_psa():
    times = np.arange(0.0, 253.0, 28.0)
    response = [40.0, 10.0, 4.0, 4.0, 5.9, 5.9, 5.9, 5.9, 5.9, 5.9]
    # 48 %, but 1.9 ng/mL.
    assert visit("psa_ng_ml", response, times=times) is None
    response[4:] = [6.1, 6.5, 7.0, 8.0, 9.0, 10.0]
    assert visit("psa_ng_ml", response, times=times) == 112.0
    # 2.1 ng/mL, but 21 %.
    assert visit("psa_ng_ml", [40.0, 20.0, 10.0, 10.0, *[12.1] * 6], times=times) is None


def test_pcwg3_needs_a_second_value_and_no_early_one():
    times = np.arange(0.0, 253.0, 14.0)
    flare = np.where(times < 84, 20.0 * np.exp(0.02 * np.minimum(times, 56)), 5.0)
    assert visit("psa_ng_ml", flare, times=times) is None
    # Without any decline it is seen at week 12, not before.
    assert day("psa_ng_ml", 20.0 * np.exp(0.02 * times), times=times) == 84.0
    spike = np.where(times == 140.0, 30.0, 10.0)
    assert visit("psa_ng_ml", spike, times=times) is None
    # A decline by next to nothing does not bring the day forward.
    declined = np.where(times > 0, 19.999 * np.exp(0.02 * (times - 14)), 20.0)
    assert day("psa_ng_ml", declined, times=times) == 84.0


@pytest.mark.parametrize(
    ("quantity", "ending", "name"),
    [
        ("whole_tumor_volume_mm3", "mm3", "rano_2_0"),
        ("cell_volume_mm3", "mm3", "rano_2_0"),
        ("diameter_mm", "mm", "recist_1_1"),
        ("sum_of_diameters_mm", "mm", "recist_1_1"),
        ("psa_ng_ml", "psa_ng_ml", "pcwg3"),
        ("ca19_9_u_ml", None, "forty_percent"),
        ("testosterone_nmol_l", None, "forty_percent"),
    ],
)
def test_the_unit_of_an_outcome_chooses(quantity, ending, name):
    assert ending_of(quantity) == ending and criterion_for(quantity).name == name
    if ending is None:
        assert "no published criterion is known" in criterion_for(quantity).source


def test_every_quantity_that_is_measured_has_a_criterion():
    assert {ending_of(quantity) for quantity in SCATTER} == {*CRITERIA, None}


def test_a_criterion_is_chosen_by_its_name():
    assert criterion_for("volume_mm3", "recist_1_1").label == "RECIST 1.1, of a sphere"
    assert criterion_for("psa_ng_ml", "forty_percent").relative == 0.4
    with pytest.raises(InputError, match="'x' is no criterion for 'volume_mm3'; choose one of rano_2_0, recist_1_1, f"):
        criterion_for("volume_mm3", "x")
    with pytest.raises(InputError, match="'recist_1_1' is no criterion for 'ca19_9_u_ml'; choose one of forty_percent"):
        criterion_for("ca19_9_u_ml", "recist_1_1")


@pytest.mark.parametrize("ending", CRITERIA)
def test_readers_are_told_rule_and_source(ending):
    for criterion in CRITERIA[ending]:
        told = criterion.told("the smallest")
        assert "above the smallest" in told["rule"] and "{" not in told["rule"]
        assert any(word in told["source"] for word in ("Wen", "Eisenhauer", "Scher", "our own choice"))
