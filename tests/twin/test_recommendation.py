"""`DigitalTwin.recommend`: plans that are known in closed form, and what is told of any plan."""

import csv

import bar
import jax.numpy as jnp
import numpy as np
import pytest
import volume

from twinjax.core.config import choices, load_named
from twinjax.core.errors import InputError
from twinjax.report.recommendation import recommendation_section
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen
from twinjax.twin import Adjustable, PlanQuestion
from twinjax.twin.adjustable import PlanVariables
from twinjax.twin.dose_limits import DoseLimits
from twinjax.twin.recommendation import FrontPoint

NORMAL = 3.0
FREE = {"radiotherapy": Adjustable(largest_dose=20.0, normal_alpha_beta_ratio=NORMAL)}


def course(fractions: int, dose: float, alpha_beta_ratio: float) -> Regimen:
    return Regimen((Radiotherapy(np.arange(fractions) * 1.0, dose, alpha=0.05, alpha_beta_ratio=alpha_beta_ratio),))


def ask(standard: Regimen, twin=None, *, adjust=FREE, decision_day=5.0, horizon_days=26.0, draws=20, **question):
    asked = PlanQuestion(standard, adjust, **{"burdens": (), **question})
    twin = volume.twin(grows=False) if twin is None else twin
    return twin.recommend(asked, decision_day=decision_day, horizon_days=horizon_days, draws=draws)


def doses(recommendation) -> np.ndarray:
    return np.concatenate([np.asarray(t.doses) for t in recommendation.plans["recommended"].treatments])


@pytest.fixture(scope="module")
def few():
    """A tumour more sensitive to the size of a fraction than normal tissue is."""
    return ask(course(10, 2.0, 1.5), burdens=(0.5, 1.5))


@pytest.mark.thorough
def test_a_late_reacting_tumour_gets_one_large_fraction_of_the_same_bed(few):
    """Its alpha/beta is below that of normal tissue: of the BED there, d (1 + d / 3) = 20 (1 + 2 / 3), it gets most."""
    bed = 20 * (1 + 2 / NORMAL)
    expected = NORMAL / 2 * (np.sqrt(1 + 4 * bed / NORMAL) - 1)
    np.testing.assert_allclose(doses(few), [expected], rtol=1e-4)
    # Each draw's log kill is alpha times the BED of the tumour.
    gained = expected * (1 + expected / 1.5) - 20 * (1 + 2 / 1.5)
    alphas = -few.log_ratio / gained
    assert alphas.min() > 0.01 and np.median(alphas) == pytest.approx(volume.ALPHA, rel=0.15)
    assert few.better and few.evidence()["probability_smaller"] == 1.0
    assert few.sensitivity == {"alpha": pytest.approx(-1.0)}


def test_tumour_control_is_sought_as_a_probability():
    """Without growth the plan of the most kill has the highest TCP: one fraction, as of the size at the horizon."""
    asked = {"control": "tumor_control_probability", "clonogens_per_mm3": 1e-3}
    found = ask(course(10, 2.0, 1.5), **asked)
    bed = 20 * (1 + 2 / NORMAL)
    np.testing.assert_allclose(doses(found), [NORMAL / 2 * (np.sqrt(1 + 4 * bed / NORMAL) - 1)], rtol=1e-3)
    chances = found.evidence()["tumor_control_probability"]
    for plan, chance in chances.items():
        assert chance == pytest.approx(np.exp(-1e-3 * found.courses[plan].min(axis=1)).mean(), rel=1e-9)
    assert found.better and chances["recommended"] > chances["standard"] + 0.01
    section = recommendation_section(found)
    assert "probability that no clonogenic cell is left" in section.text and "0.001 clonogenic cells" in section.text
    (row,) = [row for row in section.tables[1].rows if row[0] == "probability of tumour control, mean"]
    assert row[2].startswith(f"{100 * chances['recommended']:.3g} %, standard")


def test_tumour_control_counts_cells_of_a_volume():
    question = PlanQuestion(course(10, 2.0, 1.5), FREE, control="tumor_control_probability")
    with pytest.raises(InputError, match="needs a volume, not 'sum_of_diameters_mm'"):
        volume.twin().recommend(question, decision_day=5.0, horizon_days=26.0, outcome="sum_of_diameters_mm")
    with pytest.raises(InputError, match="clonogens_per_mm3 must be a positive number, got 0"):
        PlanQuestion(course(10, 2.0, 1.5), FREE, clonogens_per_mm3=0.0)


def test_an_early_reacting_tumour_keeps_its_many_equal_fractions():
    """Half the dose of the course in its first fractions: spread evenly over all ten it does most."""
    uneven = Regimen((Radiotherapy(np.arange(10.0), [3.0] * 5 + [1.0] * 5, alpha=0.05, alpha_beta_ratio=10.0),))
    found = ask(uneven)
    bed = 5 * 3 * (1 + 3 / NORMAL) + 5 * (1 + 1 / NORMAL)
    even = NORMAL / 2 * (np.sqrt(1 + 4 * bed / 10 / NORMAL) - 1)
    np.testing.assert_allclose(doses(found), np.full(10, even), rtol=1e-3)
    assert found.better and not found.doubts


@pytest.mark.thorough
def test_the_expected_size_is_sought_too(few):
    """Without growth every draw is best served by the plan of the most kill, however draws are weighed."""
    found = ask(course(10, 2.0, 1.5), control="expected_size")
    np.testing.assert_allclose(doses(found), doses(few), rtol=1e-3)
    sizes = found.courses["recommended"]
    assert found.risk["recommended"] == pytest.approx((sizes[:, -1] / sizes[:, 0]).mean())


def test_where_the_standard_is_best_it_stays():
    found = ask(course(10, 2.0, 10.0))
    np.testing.assert_allclose(doses(found), 2.0, rtol=1e-3)
    assert not found.better
    assert found.evidence()["ratio"] == pytest.approx({"lower": 1.0, "median": 1.0, "upper": 1.0}, abs=1e-5)
    assert found.evidence()["probability_smaller"] == pytest.approx(0.5, abs=0.5)


@pytest.mark.thorough
def test_the_front_falls_with_the_burden_and_every_plan_keeps_its_limits(few):
    rows = few.front_rows()
    assert [row["share_of_limits"] for row in rows] == [0.5, 1.0, 1.5]
    assert [row["median"] for row in rows] == sorted((row["median"] for row in rows), reverse=True)
    for row in rows:
        assert row["used"] == pytest.approx(row["share_of_limits"], rel=1e-6)
        assert row["used"] <= row["share_of_limits"] + 1e-9
        assert row["radiotherapy_bed_normal_tissue_gy"] == pytest.approx(row["used"] * 100 / 3)
    (limit,) = [row for row in few.limits if row["measure"] == "eqd2_normal_tissue_gy"]
    assert limit["standard"] == limit["bound"] == pytest.approx(20.0)
    assert limit["recommended"] == pytest.approx(20.0)


@pytest.mark.thorough
def test_the_burden_at_equal_control_lies_where_the_front_meets_the_standard(few):
    front = [FrontPoint(share, share, {}, few.courses["standard"], risk) for share, risk in ((0.5, 3.0), (1.0, 1.0))]
    made = few.__class__(**{**vars(few), "front": front, "risk": {"standard": 2.5, "recommended": 1.0}})
    assert made.burden_at_equal_control == pytest.approx(0.625)
    unreached = few.__class__(**{**vars(made), "risk": {"standard": 3.5, "recommended": 1.0}})
    assert unreached.burden_at_equal_control is None


@pytest.mark.slow
def test_the_largest_dose_and_the_interval_are_kept():
    """Two days apart and at most 4 Gy: a tumour that grows wants its doses early, but no closer."""
    standard = Regimen((Radiotherapy([0.0, 7.0, 14.0], 3.0, alpha=0.05, alpha_beta_ratio=10.0),))
    limits = Adjustable(4.0, normal_alpha_beta_ratio=NORMAL, move_days=10.0, least_interval_days=2.0)
    found = ask(
        standard, volume.twin(), adjust={"radiotherapy": limits}, control="time_to_progression", horizon_days=90.0
    )
    (given,) = found.plans["recommended"].treatments
    days, size = np.asarray(given.times), np.asarray(given.doses)
    assert days.min() >= 0 and (np.diff(days) >= 2 - 1e-6).all()
    assert (size <= 4 + 1e-9).all()
    assert (days < [1.0, 8.0, 15.0]).all()
    bed = (size * (1 + size / NORMAL)).sum()
    assert bed <= 9 * (1 + 3 / NORMAL) + 1e-6


@pytest.mark.slow
def test_a_drug_and_fractions_are_each_held_to_their_own_sum():
    """The sum of the drug, which has no bound of its own, stays that of the standard."""
    drug = Chemotherapy([0.0, 7.0, 14.0], [100.0, 50.0, 50.0], drug="cisplatin", sensitivity=0.1, reference_dose=100.0)
    adjust = FREE | {"cisplatin": Adjustable(150.0)}
    found = ask(course(3, 2.0, 10.0) + Regimen((drug,)), volume.twin(), adjust=adjust)
    totals = {row["treatment"]: row for row in found.limits if row["measure"].startswith("total_dose")}
    assert totals["cisplatin"]["recommended"] == pytest.approx(200.0, rel=1e-6)
    assert totals["cisplatin"]["bound"] == 200.0 and totals["radiotherapy"]["bound"] is None
    assert {row["treatment"] for row in found.rows()} == {"radiotherapy", "cisplatin"}


@pytest.mark.thorough
def test_doses_of_a_week_may_be_one_variable():
    adjust = {"radiotherapy": Adjustable(6.0, normal_alpha_beta_ratio=NORMAL, together_days=7.0)}
    found = ask(course(10, 2.0, 1.5), adjust=adjust)
    plan = doses(found)
    assert len(np.unique(np.round(plan, 6))) <= 2 and plan.max() > 2.5


@pytest.mark.thorough
def test_the_tail_of_the_draws_may_count_alone(few):
    worst = ask(course(10, 2.0, 1.5), tail=0.1)
    assert worst.risk["recommended"] > few.risk["recommended"]
    # Two of twenty draws.
    logs = np.sort(np.log(worst.final["recommended"]))
    assert worst.risk["recommended"] == pytest.approx(logs[-2:].mean())


@pytest.mark.thorough
def test_the_plan_is_judged_by_draws_that_the_search_has_not_seen(few):
    """Of forty draws of the posterior twenty are judges, however many are asked for."""
    assert few.evidence()["draws"] == 20
    assert ask(course(10, 2.0, 1.5), draws=500).evidence()["draws"] == 20


@pytest.mark.slow
def test_on_a_grid_a_box_is_solved_and_the_standard_is_the_forecast():
    """The draws of the posterior are spread evenly: every second of the twenty judges."""
    twin, standard = bar.twin(), Regimen((Radiotherapy([0.0, 7.0], 3.0, alpha=0.05),))
    found = ask(standard, twin, draws=10, starts=1, max_iterations=5)
    assert found.outcome == "cell_volume_mm3" and found.courses["recommended"].shape == (10, 4)
    given = twin.regimen.before(5.0) + standard.shifted(5.0)
    whole = twin.predict(26.0, found.times.tolist(), regimen=given, draws=20, fields=False)
    np.testing.assert_allclose(found.courses["standard"], whole.quantities["cell_volume_mm3"][1::2], rtol=1e-3)
    assert found.risk["recommended"] <= found.risk["standard"] + 1e-6


@pytest.mark.thorough
def test_rows_are_one_table(few, tmp_path):
    rows = few.rows()
    assert [row["plan"] for row in rows].count("standard") == 10
    with open(tmp_path / "a.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert {row["dose"] for row in rows if row["plan"] == "standard"} == {2.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decision_day": 30.0}, r"the horizon \(day 26\) must lie after it"),
        ({"decision_day": -1.0}, "must not lie before day 0"),
        ({"draws": 5}, "at least 10 draws"),
        ({"control": "cure"}, "control 'cure' is unknown; choose one of final_size"),
        ({"tail": 0.0}, "tail must lie above 0"),
        ({"starts": 0}, "starts must be a whole number"),
        ({"burdens": (-1.0,)}, "burdens must be positive"),
        ({"adjust": {}}, "name at least one treatment"),
        ({"adjust": {"cisplatin": Adjustable(1.0)}}, "the standard plan has radiotherapy, not cisplatin"),
        ({"adjust": {"radiotherapy": Adjustable(20.0)}}, "radiotherapy, which needs it"),
        ({"adjust": {"radiotherapy": Adjustable(1.0, 3.0)}}, "raise largest_dose to it"),
        ({"adjust": {"radiotherapy": Adjustable(9.0, 3.0, least_interval_days=2.0)}}, "lower least_interval_days"),
    ],
    ids=str,
)
def test_what_cannot_be_asked(changes, message):
    with pytest.raises(InputError, match=message):
        ask(course(10, 2.0, 10.0), **changes)


def test_limits_are_not_plain_numbers():
    """The check itself: in tests a value of another type does not get as far."""
    asked = PlanQuestion(course(10, 2.0, 10.0), FREE)
    object.__setattr__(asked, "adjust", {"radiotherapy": 3.0})
    with pytest.raises(InputError, match="radiotherapy must be an Adjustable"):
        asked.__post_init__()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"largest_dose": 0.0}, "largest_dose must be a positive number, got 0"),
        ({"largest_dose": 2.0, "together_days": -7.0}, "together_days must be a positive number"),
        ({"largest_dose": 2.0, "move_days": float("nan")}, "move_days must be a number of days >= 0"),
    ],
)
def test_limits_are_positive_numbers(values, message):
    with pytest.raises(InputError, match=message):
        Adjustable(**values)


@pytest.mark.parametrize(
    "name", sorted(set(choices("recommendation")) - {"intermittent_androgen_deprivation", "target_volume"})
)
def test_every_question_of_doses_in_the_configuration_fits_its_standard(name):
    question = load_named("recommendation", name)
    variables = PlanVariables(question.regimen, question.adjust, first=0, decision_day=0.0)
    used = np.asarray(DoseLimits(variables).used(jnp.asarray(variables.standard())))
    # Doses of a week that are one are their mean, whose BED is no larger than theirs.
    assert ((used > 0.9) & (used <= 1 + 1e-6)).all()


def test_a_standard_may_be_named_and_an_outcome_must_be_predicted():
    named = PlanQuestion("sbrt_50_5", {"radiotherapy": Adjustable(18.0, normal_alpha_beta_ratio=NORMAL)})
    assert named.regimen.treatments[0].times.size == 5
    with pytest.raises(
        InputError, match="outcome 'psa_ng_ml' is not predicted by the model; choose one of .*volume_mm3"
    ):
        volume.twin().recommend(named, decision_day=5.0, horizon_days=26.0, outcome="psa_ng_ml")
