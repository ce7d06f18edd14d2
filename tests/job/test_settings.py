"""The settings of a job: what does not fit the patient, the model or the prior is refused before any work."""

from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf

from twinjax.core.config import conf_dir, load_named
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.job import JobSettings
from twinjax.model import ClaretInhibition, FisherKPP, UntimedFisherKPP
from twinjax.twin.criteria import CRITERIA, criterion_for

DAYS = (0.0, 15.0, 30.0)
MODEL = FisherKPP(Domain(np.ones((4, 4, 4)), (2.0, 2.0, 2.0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"until_day": 0}, "calibration.until_day=0"),
        ({"until_day": -5}, "calibration.until_day=-5"),
        ({"horizon_days": 10.0}, "forecast.horizon_days.*day 30"),
        ({"surgery_day": 30.0}, "forecast.surgery_day must lie after the last calibrated visit .day 30."),
        ({"baseline_day": 40.0}, "forecast.baseline_day must lie between .* .day 0 and 30., got 40"),
        ({"surgery_day": 200.0, "horizon_days": 180.0}, "not after forecast.horizon_days"),
    ],
)
def test_settings_that_do_not_fit_the_patient(changes, message):
    with pytest.raises(InputError, match=message):
        JobSettings(**changes).check(DAYS, MODEL, load_named("prior", "glioblastoma"))


def test_the_steps_of_a_single_scan_are_of_its_own_clock():
    single, prior = UntimedFisherKPP(MODEL.domain), load_named("prior", "glioblastoma_single_scan")
    with pytest.raises(InputError, match="calibration.max_step=2.0: the clock of a single scan"):
        JobSettings(max_step=2.0).check([0.0], single, prior)
    JobSettings(max_step=0.025).check([0.0], single, prior)


def test_a_model_without_space_needs_two_days():
    with pytest.raises(InputError, match="measured on one day; a model without space needs two"):
        JobSettings().check([0.0], ClaretInhibition(), load_named("prior", "claret"))


def test_what_needs_scans_over_time_is_refused_elsewhere():
    single, prior = UntimedFisherKPP(MODEL.domain), load_named("prior", "glioblastoma_single_scan")
    with pytest.raises(InputError, match="need several visits with scans; leave them out for UntimedFisherKPP"):
        JobSettings(max_step=0.025, mass_effect=True).check([0.0], single, prior)
    with pytest.raises(InputError, match="leave them out for VolumeModel"):
        JobSettings(surgery_day=100.0).check(
            DAYS, load_named("model", "lung_volume"), load_named("prior", "lung_volume")
        )


def test_the_error_of_a_model_is_for_those_without_space():
    with pytest.raises(InputError, match="calibration.model_error is for models without space; .* for FisherKPP"):
        JobSettings(model_error=0.3).check(DAYS, MODEL, load_named("prior", "glioblastoma"))
    JobSettings(model_error=0.3).check(DAYS, load_named("model", "lung_volume"), load_named("prior", "lung_volume"))
    with pytest.raises(InputError, match="calibration.model_error must be a number of at least 0, got -0.1"):
        JobSettings(model_error=-0.1)


@pytest.mark.parametrize("key", ["calibration.profile", "forecast.mass_effect"])
def test_switches_are_true_or_false(key):
    """The check itself: in tests a value of another type does not get as far."""
    settings = SimpleNamespace(**vars(JobSettings()) | {key.partition(".")[2]: 3})
    with pytest.raises(InputError, match=f"{key} must be true or false, got 3"):
        JobSettings.__post_init__(settings)


@pytest.mark.parametrize(
    ("progression", "message"),
    [
        ({"mm3": "x"}, "progression: 'x' is no criterion for 'mm3'; choose one of rano_2_0, recist_1_1, forty_percent"),
        ({"psa_ng_ml": "rano_2_0"}, "'rano_2_0' is no criterion for 'psa_ng_ml'; choose one of pcwg3, forty_percent"),
        ({"ml": "rano_2_0"}, "forecast.progression: 'ml' is unknown; choose one of mm3, mm, psa_ng_ml"),
    ],
)
def test_an_unknown_criterion_of_progression(progression, message):
    with pytest.raises(InputError, match=message):
        JobSettings(progression=progression)


def test_the_settings_choose_the_criterion_of_a_quantity():
    settings = JobSettings(progression={"mm3": "recist_1_1"})
    assert settings.progression_of("core_volume_mm3") == "recist_1_1"
    assert settings.progression_of("diameter_mm") is None and settings.progression_of("ca19_9_u_ml") is None


def test_defaults_are_those_of_the_configuration():
    """Those of them that say nothing of one patient's days."""
    config = OmegaConf.load(conf_dir() / "config.yaml")
    keys = {
        "calibration": ("resolution_mm", "margin_mm", "correlation_length_mm", "max_step", "profile", "model_error")
    }
    keys |= {"forecast": ("interval_days", "draws", "baseline_day", "surgery_day", "mass_effect")}
    for group, names in keys.items():
        for name in names:
            assert getattr(JobSettings(), name) == config[group][name], name
    # The usual criteria, written out.
    usual = {unit: criterion_for(unit).name for unit in CRITERIA}
    assert OmegaConf.to_container(config["forecast"]["progression"]) == usual
    assert JobSettings().decision_horizon_days == config["decision"]["horizon_days"]
    assert JobSettings().decision_draws == config["decision"]["draws"]


def test_last_calibrated_day():
    assert JobSettings().last_calibrated_day(DAYS) == 30
    assert JobSettings(until_day=20).last_calibrated_day(DAYS) == 15
