"""Which parameters a patient can tell, and which a forecast draws from their prior."""

from twinjax.calibration import Prior
from twinjax.calibration.applicable import applicable
from twinjax.treatment import Chemotherapy, Regimen

HALF = ("lognormal", 1.0, 0.5)
PRIOR = Prior(
    {
        "taxane": {"distribution": HALF, "where": ["regimen.paclitaxel.sensitivity", "regimen.docetaxel.sensitivity"]},
        "platinum": {"distribution": HALF, "where": "regimen.carboplatin.sensitivity", "unit": "1/day"},
        "growth": {"distribution": HALF, "where": "model.proliferation_rate"},
        "level": {"distribution": HALF, "where": "observation.pet.noise_std"},
    }
)
GIVEN = Regimen([Chemotherapy([0.0], 80.0, drug="paclitaxel")])


def test_what_was_not_given_or_measured_is_left_out():
    known, _ = applicable(PRIOR, GIVEN, {})
    assert {p.name: p.where for p in known.parameters} == {
        "taxane": ("regimen.paclitaxel.sensitivity",),
        "growth": ("model.proliferation_rate",),
    }


def test_forecasts_keep_the_treatments_to_come():
    """In every treatment that shares a parameter; after those that are calibrated come those that are not."""
    known, later = applicable(PRIOR, GIVEN, {})
    assert later.names == (*known.names, "platinum")
    places = {p.name: p.where for p in later.parameters}
    assert places["taxane"] == ("regimen.paclitaxel.sensitivity", "regimen.docetaxel.sensitivity")
    assert places["platinum"] == ("regimen.carboplatin.sensitivity",)
    assert later.parameters[-1].unit == "1/day"
