"""`TargetQuestion`: what is asked of a target volume and a painted dose."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from twinjax.core.errors import InputError
from twinjax.model import AbstractSpatialModel, AbstractTumorModel
from twinjax.treatment import Radiotherapy, Regimen
from twinjax.twin.adjustable import is_not_negative, is_number, named_regimen
from twinjax.twin.control import tail_weights
from twinjax.twin.plan import STANDARD_MARGIN_MM

CELLS = ("all", "infiltrating")
# Painted doses are multiples of this share of the standard's fraction: finer than what a machine keeps.
DOSE_STEP = 1 / 40
# Decimals of a dose (Gy): levels that rounding alone tells apart are one.
DECIMALS = 6


@dataclass(frozen=True)
class TargetQuestion:
    """Which voxels to irradiate, and with how much.

    The targets hold the segmented core and as many voxels of the organ as the standard, which is all within `margin_mm`
    of the core. One covers the largest expected share of the cells, one the largest in the worst share `tail` of the
    draws. The painted dose leaves the fewest cells at the integral dose of the standard.

    **Fields:** `standard`, a name of conf/treatment or a regimen with one course of radiotherapy of equal fractions;
    `margin_mm`; `volume_mm3` of the targets (None: that of the standard); `cells` that are to be covered, `"all"` or
    `"infiltrating"`, which is those where a draw has less than the density from which tumour is seen; `tail`;
    `least_dose` of a voxel of the standard target and `largest_dose` of any, Gy a fraction. The default of the latter,
    2.5 Gy, is that of NRG-BN001 (NCT02179086: 75 Gy in 30 fractions); `at_risk`, the file of the mask of an organ at
    risk (`PatientData.mask`), and `largest_dose_at_risk`, Gy a fraction, which go together.

    Raises `InputError` for values that are none of these.
    """

    standard: str | Regimen = "radiotherapy_60_30"
    margin_mm: float = STANDARD_MARGIN_MM
    volume_mm3: float | None = None
    cells: str = "all"
    tail: float = 0.1
    least_dose: float = 0.0
    largest_dose: float = 2.5
    at_risk: str | None = None
    largest_dose_at_risk: float | None = None
    course: Radiotherapy = field(init=False)

    def __post_init__(self):
        courses = [one for one in named_regimen(self.standard).treatments if isinstance(one, Radiotherapy)]
        if len(courses) != 1 or courses[0].log_kill is None or np.ptp(courses[0].doses) > 0:
            raise InputError("standard must have one course of radiotherapy, of equal fractions and an even dose")
        object.__setattr__(self, "course", courses[0])
        if not is_number(self.margin_mm, above=0):
            raise InputError(f"margin_mm must be a positive number, got {self.margin_mm}")
        if not (self.volume_mm3 is None or is_number(self.volume_mm3, above=0)):
            raise InputError(f"volume_mm3 must be a positive number, or null for the standard's, got {self.volume_mm3}")
        if self.cells not in CELLS:
            raise InputError(f"cells '{self.cells}' is unknown; choose one of {', '.join(CELLS)}")
        tail_weights(np.zeros(1), self.tail)
        if not is_number(self.largest_dose, above=0):
            raise InputError(f"largest_dose must be a positive number of Gy, got {self.largest_dose}")
        if not is_not_negative(self.least_dose):
            raise InputError(f"least_dose must be a number of Gy >= 0, got {self.least_dose}")
        if not self.least_dose <= min(self.largest_dose, self.dose):
            raise InputError(
                f"least_dose ({self.least_dose:g} Gy) must not lie above largest_dose ({self.largest_dose:g} Gy) or "
                f"the fractions of the standard ({self.dose:g} Gy)"
            )

        if (self.at_risk is None) != (self.largest_dose_at_risk is None):
            raise InputError(
                "at_risk, the mask of an organ, and largest_dose_at_risk, its Gy a fraction, go together, got "
                f"{self.at_risk} and {self.largest_dose_at_risk}"
            )
        if self.at_risk is not None and not is_not_negative(self.largest_dose_at_risk):
            raise InputError(f"largest_dose_at_risk must be a number of Gy >= 0, got {self.largest_dose_at_risk}")

    @property
    def dose(self) -> float:
        """Gy of each fraction of the standard."""
        return round(float(self.course.doses[0]), DECIMALS)

    @property
    def fractions(self) -> int:
        return self.course.times.size

    def levels(self, *more: float) -> Float[np.ndarray, " levels"]:
        """The doses (Gy a fraction) to paint with: even steps, none, the standard's, the least, the largest, `more`."""
        step = self.dose * DOSE_STEP
        even = step * np.arange(int(self.largest_dose / step + 1e-9) + 1)
        return np.unique(np.round(np.r_[even, self.dose, self.least_dose, self.largest_dose, more], DECIMALS))

    def check(self, model: AbstractTumorModel) -> None:
        """`InputError` for a model without space."""
        if not isinstance(model, AbstractSpatialModel):
            raise InputError(
                f"a target needs a model with space, which {type(model).__name__} is not; choose another recommendation"
            )
