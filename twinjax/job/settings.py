"""The settings of a job, as conf/config.yaml has them, checked before anything is computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from twinjax.calibration import Prior
from twinjax.core.config import choices
from twinjax.core.errors import InputError
from twinjax.model import AbstractLumpedModel, AbstractTumorModel, UntimedFisherKPP
from twinjax.twin.criteria import CRITERIA, criterion_for, ending_of

# A whole life of a tumour in fewer than ten steps is no solution.
LONGEST_SINGLE_SCAN_STEP = 0.1
# Fields of `JobSettings` that must be positive, and the keys of the configuration that set them.
_POSITIVE = {
    "resolution_mm": "calibration.resolution_mm",
    "margin_mm": "calibration.margin_mm",
    "correlation_length_mm": "calibration.correlation_length_mm",
    "max_step": "calibration.max_step",
    "horizon_days": "forecast.horizon_days",
    "interval_days": "forecast.interval_days",
    "decision_horizon_days": "decision.horizon_days",
}


@dataclass(frozen=True)
class JobSettings:
    """What the job is to do; days since baseline. See conf/config.yaml for the meaning of each."""

    until_day: float | None = None
    resolution_mm: float = 2.0
    margin_mm: float = 16.0
    correlation_length_mm: float = 10.0
    max_step: float = 3.5
    profile: bool = False
    model_error: float = 0.0
    assimilate: bool = False
    horizon_days: float = 180.0
    interval_days: float = 7.0
    draws: int = 100
    surgery_day: float | None = None
    progression: Mapping[str, str] = field(default_factory=dict)
    baseline_day: float | None = None
    mass_effect: bool = False
    grid_of: str | None = None
    dicom_series: int | None = None
    decision_horizon_days: float = 120.0
    decision_draws: int = 60
    options: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self):
        for name, key in _POSITIVE.items():
            value = getattr(self, name)
            if not (isinstance(value, int | float) and np.isfinite(value) and value > 0):
                raise InputError(f"{key} must be a positive number, got {value}")
        if not (isinstance(self.model_error, int | float) and 0 <= self.model_error < float("inf")):
            raise InputError(f"calibration.model_error must be a number of at least 0, got {self.model_error}")
        for name, key in (("draws", "forecast.draws"), ("decision_draws", "decision.draws")):
            if not isinstance(value := getattr(self, name), int) or value < 10:
                raise InputError(f"{key} must be a whole number of at least 10, for an interval, got {value}")
        if not (self.until_day is None or isinstance(self.until_day, int | float)):
            raise InputError(f"calibration.until_day must be a day or null, got {self.until_day}")
        for name in ("surgery_day", "baseline_day"):
            if not ((value := getattr(self, name)) is None or isinstance(value, int | float)):
                raise InputError(f"forecast.{name} must be a day or null, got {value}")
        for unit, name in self.progression.items():
            if unit not in CRITERIA:
                raise InputError(f"forecast.progression: '{unit}' is unknown; choose one of {', '.join(CRITERIA)}")
            criterion_for(unit, name)
        for name, key in (
            ("mass_effect", "forecast.mass_effect"),
            ("profile", "calibration.profile"),
            ("assimilate", "calibration.assimilate"),
        ):
            if not isinstance(value := getattr(self, name), bool):
                raise InputError(f"{key} must be true or false, got {value}")
        known = choices("treatment")
        if isinstance(self.options, str) or len(self.options) == 1:
            raise InputError(
                f"decision.options: give two or more names to compare, or decision=null; got {self.options}"
            )
        for option in self.options:
            if option not in known:
                raise InputError(f"decision.options: '{option}' is unknown; choose from {', '.join(known)}")

    def check(self, days: Sequence[float], model: AbstractTumorModel, prior: Prior) -> None:
        """Refuse settings that do not fit a patient with visits on `days`; `InputError` names the key."""
        single = isinstance(model, UntimedFisherKPP)
        if (single or isinstance(model, AbstractLumpedModel)) and (self.surgery_day is not None or self.mass_effect):
            raise InputError(
                "forecast.surgery_day and forecast.mass_effect need several visits with scans; leave them out for "
                f"{type(model).__name__}"
            )
        if self.model_error and not isinstance(model, AbstractLumpedModel):
            raise InputError(
                f"calibration.model_error is for models without space; leave it out for {type(model).__name__}, whose "
                "observations have errors of their own (docs/likelihood.md)"
            )
        if len(days) < 2 and isinstance(model, AbstractLumpedModel):
            raise InputError("this patient was measured on one day; a model without space needs two days or more")
        if len(days) < 2 and not single:
            raise InputError(
                "this patient has one visit: add +job=single_scan, which chooses model=glioblastoma_single_scan and "
                "what goes with it"
            )
        if len(days) > 1 and single:
            raise InputError("a patient with several visits needs model=glioblastoma prior=glioblastoma")
        check_prior(model, prior)
        if single and self.max_step > LONGEST_SINGLE_SCAN_STEP:
            raise InputError(
                f"calibration.max_step={self.max_step}: the clock of a single scan runs from 0 to 1 and wants steps of "
                f"at most {LONGEST_SINGLE_SCAN_STEP}, such as calibration.max_step=0.025"
            )
        if single:
            return
        last = self.last_calibrated_day(days)
        if not self.horizon_days > last:
            raise InputError(
                f"forecast.horizon_days must lie after the last calibrated visit (day {last:g}), "
                f"got {self.horizon_days}"
            )
        if self.surgery_day is not None and not last < self.surgery_day <= self.horizon_days:
            raise InputError(
                f"forecast.surgery_day must lie after the last calibrated visit (day {last:g}) and not after "
                f"forecast.horizon_days ({self.horizon_days:g}), got {self.surgery_day}"
            )
        if self.baseline_day is not None and not days[0] <= self.baseline_day <= last:
            raise InputError(
                f"forecast.baseline_day must lie between the first and the last calibrated visit (day {days[0]:g} and "
                f"{last:g}), got {self.baseline_day}"
            )
        if self.assimilate and last == days[-1]:
            raise InputError(
                "calibration.assimilate=true needs visits after calibration.until_day, which are told to the twin one "
                f"by one; the last of this patient is of day {days[-1]:g}"
            )
        if sum(day <= last for day in days) < 2:
            raise InputError(
                f"calibration.until_day={self.until_day} leaves fewer than two of the visits (days {days})"
            )

    def progression_of(self, quantity: str) -> str | None:
        """The name of the criterion that the settings give a quantity; None for the usual one of its unit."""
        return self.progression.get(ending_of(quantity) or "")

    def last_calibrated_day(self, days: Sequence[float]) -> float:
        """The day of the last visit that is fitted."""
        fitted = [day for day in days if self.until_day is None or day <= self.until_day]
        return float(fitted[-1]) if fitted else float("-inf")


def check_prior(model: AbstractTumorModel, prior: Prior) -> None:
    """`InputError` for a prior of parameters that the model does not have."""
    known = {field.name for field in fields(model)}
    for parameter in prior.parameters:
        for path in parameter.where:
            group, name, *_ = path.split(".")
            if group == "model" and name not in known:
                raise InputError(
                    f"the prior of {parameter.name} sets '{path}', which {type(model).__name__} does not have; "
                    "choose the prior that goes with the model, such as model=glioblastoma prior=glioblastoma"
                )
