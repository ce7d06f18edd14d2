"""Doses of nothing, which fill a treatment up to a number of doses, do nothing."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.pharmacokinetics import HillEffect
from twinjax.treatment import (
    AbstractModulatingTreatment,
    AndrogenDeprivation,
    CheckpointBlockade,
    Chemotherapy,
    PharmacokineticTherapy,
    Radiotherapy,
    Regimen,
    Resection,
    SaturatedRadiotherapy,
    StromaAgent,
    TumorTreatingFields,
)

DAYS = [3.0, 10.0, 12.0]
INTERVALS = [(0.0, 2.0), (2.5, 11.0), (11.0, 12.0), (12.0, 40.0)]
TREATMENTS = {
    "chemotherapy": Chemotherapy(DAYS, [75.0, 60.0, 75.0], clearance_rate=0.5),
    "radiotherapy": Radiotherapy(DAYS, [2.0, 3.0, 2.0]),
    "linear": PharmacokineticTherapy(DAYS, 900.0, drug="cyclophosphamide", infusion_hours=1.0, effect=0.02),
    "hill": PharmacokineticTherapy(DAYS, 900.0, drug="cyclophosphamide", effect=HillEffect(0.7, 2.0)),
    "blockade": CheckpointBlockade(DAYS, 1500.0, drug="durvalumab", infusion_hours=1.0),
    "stroma": StromaAgent(DAYS, [1.0, 2.0, 1.0]),
    "deprivation": AndrogenDeprivation(DAYS, 8.0, response_days=2.0),
    "fields": TumorTreatingFields(DAYS, 2.0, 0.75, full_usage_kill_rate=0.01),
}


@eqx.filter_jit
def effects(treatment, start, stop):
    if isinstance(treatment, AbstractModulatingTreatment):
        return jnp.stack([treatment.level(start), treatment.level(stop), treatment.mean_level(start, stop)])
    kills = treatment.kills(start, stop)
    # Of saturable kinetics what follows the last dose may be shared out otherwise, at the same instants.
    return jnp.stack([kills.log_kill.sum(), kills.log_kill @ kills.elapsed])


@pytest.mark.parametrize("name", [*TREATMENTS, pytest.param("saturable", marks=pytest.mark.slow)])
def test_a_treatment_filled_up_does_what_it_did(name):
    treatment = TREATMENTS.get(name) or PharmacokineticTherapy(DAYS, 140.0, drug="paclitaxel", effect=0.5)
    longer = treatment.filled(7)
    assert longer.times.size == 7 and treatment.filled(2) is treatment
    for interval in INTERVALS:
        start, stop = map(jnp.asarray, interval)
        expected = effects(treatment, start, stop)
        np.testing.assert_allclose(effects(longer, start, stop), expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("kind", [lambda course: course, SaturatedRadiotherapy])
def test_a_fraction_of_nothing_kills_nothing(kind):
    density = np.array([0.2, 0.9])
    longer = kind(TREATMENTS["radiotherapy"]).filled(5)
    assert [bool((longer.survival(i, density) == 1).all()) for i in range(5)] == [False] * 3 + [True] * 2


def test_a_regimen_fills_up_what_has_doses():
    operation = Resection(5.0, np.ones((2, 2, 2), bool))
    filled = Regimen([TREATMENTS["radiotherapy"], operation]).filled()
    assert [t.times.size for t in filled.treatments] == [5, 1]
