"""`compare`: options under the same draws, so that what differs is the treatment."""

from dataclasses import replace

import bar
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen
from twinjax.twin import DigitalTwin, compare
from twinjax.twin.draws import probability_best


def option(dose: float) -> Regimen:
    return Regimen((Radiotherapy([0.0, 1.0, 2.0], dose),))


OPTIONS = {"weak": option(1.0), "strong": option(6.0), "strong again": option(6.0)}


@pytest.fixture(scope="module")
def twin():
    return bar.twin()


@pytest.fixture(scope="module")
def comparison(twin):
    return compare(twin, OPTIONS, decision_day=5.0, horizon_days=30.0, draws=20)


def test_more_dose_leaves_less_tumour_in_every_draw(comparison):
    assert (comparison.final["strong"] < comparison.final["weak"]).all()
    assert comparison.best == "strong"
    strong, weak = (np.median(comparison.days_to_progression[name]) for name in ("strong", "weak"))
    assert strong >= weak


def test_the_same_option_twice_gives_the_same_volumes(comparison):
    np.testing.assert_array_equal(comparison.final["strong"], comparison.final["strong again"])
    rows = {row["option"]: row for row in comparison.rows()}
    for key in ("ratio_lower", "ratio_to_best", "ratio_upper"):
        assert rows["strong again"][key] == 1.0
        assert rows["weak"][key] > 1.0


def test_probabilities_sum_to_one_and_equals_share(comparison):
    assert sum(comparison.probability_best.values()) == pytest.approx(1)
    assert comparison.probability_best == pytest.approx({"weak": 0.0, "strong": 0.5, "strong again": 0.5})


def test_the_best_option_is_counted_draw_by_draw_and_ties_are_shared():
    outcomes = {"a": np.array([1.0, 1.0, 5.0, 2.0]), "b": np.array([2.0, 2.0, 1.0, 2.0 + 1e-6])}
    assert probability_best(outcomes) == {"a": 0.625, "b": 0.375}
    with pytest.raises(InputError, match="equally many"):
        probability_best({"a": np.zeros(3), "b": np.zeros(4)})


def test_rows_are_ordered(comparison):
    rows = comparison.rows(0.8)
    assert [row["option"] for row in rows] == ["strong", "strong again", "weak"]
    for row in rows:
        volume = comparison.final[row["option"]]
        assert row["median"] == pytest.approx(np.median(volume))
        assert row["lower"] == pytest.approx(np.quantile(volume, 0.1))
        assert row["upper"] == pytest.approx(np.quantile(volume, 0.9))
        assert row["probability_best"] == comparison.probability_best[row["option"]]


def test_burden_is_what_is_still_to_be_given(comparison):
    (row,) = comparison.burden["strong"]
    assert row["treatment"] == "radiotherapy"
    assert row["fractions"] == 3
    assert row["total_dose_gy"] == pytest.approx(18)
    assert (row["first_day"], row["last_day"]) == (5.0, 7.0)


def test_what_was_given_before_the_decision_acts_in_every_option(twin, comparison):
    """The past differs by the dose of day 2; what was planned for later does not count."""
    never = Regimen((Radiotherapy([2.0, 20.0], [0.0, 10.0]),))
    other = compare(twin, OPTIONS, decision_day=5.0, horizon_days=30.0, draws=20, given=never)
    assert (other.final["strong"] > comparison.final["strong"]).all()
    assert comparison.forecasts["weak"].times.tolist() == [5.0, 12.0, 19.0, 26.0, 30.0]


def test_progression_is_by_the_criterion_that_is_asked_for(twin, comparison):
    """A bar of 4 mL: 5 mm of its sphere's diameter are more than 40 % of its volume."""
    other = compare(twin, OPTIONS, decision_day=5.0, horizon_days=30.0, draws=20, progression="recist_1_1")
    usual, by_diameter = (found.days_to_progression["weak"] for found in (comparison, other))
    assert (usual < 25).all() and (by_diameter > usual).all()
    assert {row["criterion"] for row in comparison.rows()} == {"RANO 2.0"}
    (row, *_) = other.rows()
    assert row["criterion"] == "RECIST 1.1, of a sphere" and "Eisenhauer et al. 2009" in row["source"]
    assert row["rule"].endswith("20 % and 5 mm above the smallest since the decision")
    with pytest.raises(
        InputError, match="'pcwg3' is no criterion for 'whole_tumor_volume_mm3'; choose one of rano_2_0"
    ):
        compare(twin, OPTIONS, decision_day=5.0, horizon_days=30.0, progression="pcwg3")


def test_one_option_or_no_time_is_no_comparison(twin):
    with pytest.raises(InputError, match="at least two treatment options, got \\['weak'\\]"):
        compare(twin, {"weak": OPTIONS["weak"]}, decision_day=5.0, horizon_days=30.0)
    with pytest.raises(InputError, match=r"horizon \(day 5\) must lie after the decision \(day 5\)"):
        compare(twin, OPTIONS, decision_day=5.0, horizon_days=5.0)


@pytest.mark.thorough
def test_a_drug_that_was_not_given_is_as_uncertain_as_its_prior():
    """Of a posterior that leaves nothing open the untreated outcome is one number, that of a new drug is not."""
    twin = bar.twin(bar.posterior(spread=0.0, forecast_prior=bar.FORECAST_PRIOR))
    assert twin.uncalibrated == ("drug",)
    drug = Regimen((Chemotherapy([0.0, 5.0], 75.0, sensitivity=0.0),))
    options = {"none": Regimen(), "drug": drug, "drug again": drug}
    final = compare(twin, options, decision_day=5.0, horizon_days=20.0, draws=20).final
    assert np.ptp(final["none"]) == 0
    assert np.ptp(np.log(final["drug"])) > 0.1
    # The nominal sensitivity of the option, which is none, does not count.
    assert (final["drug"] < final["none"]).all()
    np.testing.assert_array_equal(final["drug"], final["drug again"])


class LosesADraw(DigitalTwin):
    """The solver fails for another draw under each of two options, which is made up: the bar's own never fail."""

    def predict(self, horizon_days, output_times=None, *, regimen=None, **options):
        found = super().predict(horizon_days, output_times, regimen=regimen, **options)
        doses = {float(dose) for treatment in regimen.treatments for dose in np.asarray(treatment.doses)}
        lost = 3 if 1.0 in doses else 11
        left = found.drawn != lost
        quantities = {name: draws[left] for name, draws in found.quantities.items()}
        return replace(found, quantities=quantities, drawn=found.drawn[left], failed_draws=1)


def test_a_draw_that_fails_under_one_option_is_left_out_of_all(twin, comparison):
    of = twin.posterior
    losing = LosesADraw(twin.model, of.map_estimate, of.credible_interval(0.95))
    found = compare(losing, OPTIONS, decision_day=5.0, horizon_days=30.0, draws=20)
    kept = [draw for draw in range(20) if draw not in (3, 11)]
    for name in OPTIONS:
        np.testing.assert_array_equal(found.final[name], comparison.final[name][kept])
        np.testing.assert_array_equal(found.days_to_progression[name], comparison.days_to_progression[name][kept])


def test_what_the_best_option_rests_on_is_told(twin):
    """Where the cells are sensitive more dose shrinks by more: before they have grown again it is alpha alone."""
    two = {name: OPTIONS[name] for name in ("weak", "strong")}
    found = compare(twin, two, decision_day=5.0, horizon_days=30.0, draws=20, outcome="cell_volume_mm3")
    told = found.evidence()
    ratio = found.final["strong"] / found.final["weak"]
    assert (told["best"], told["against"], told["draws"]) == ("strong", "weak", 20)
    assert list(told["ratio"].values()) == pytest.approx(np.quantile(ratio, [0.05, 0.5, 0.95]).tolist(), rel=1e-2)
    assert told["probability_smaller"] == 1.0 and told["days_gained"]["median"] > 0
    soon = compare(twin, two, decision_day=5.0, horizon_days=8.0, draws=20, outcome="cell_volume_mm3").evidence()
    assert soon["sensitivity"]["alpha"] < -0.9 and next(iter(soon["sensitivity"])) == "alpha"
    assert told["caveat"].startswith("Research software")


def test_options_that_are_the_same_hang_on_nothing(twin):
    same = {name: OPTIONS[name] for name in ("strong", "strong again")}
    told = compare(twin, same, decision_day=5.0, horizon_days=30.0, draws=20).evidence()
    assert told["sensitivity"] == {} and told["probability_smaller"] == 0.5
    assert set(told["days_gained"].values()) == {0.0}
