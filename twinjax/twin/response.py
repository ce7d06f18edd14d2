"""Pathological complete response: how likely is it that surgery finds no tumour?"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from twinjax.core.errors import InputError
from twinjax.twin.forecast import Forecast

# Cells packed as densely as they can be in a sphere of 5 mm in diameter: less than that is taken as a complete
# response. Our own choice: below the resolution of the scans, and not calibrated against pathology.
THRESHOLD_MM3 = np.pi / 6 * 5.0**3


@dataclass(frozen=True)
class CompleteResponse:
    """The chance of a pathological complete response.

    **Fields:** `probability`, the share of the forecast's draws whose cell volume lies below `threshold_mm3` on `day`;
    `lower` and `upper`, the 90 % interval of that share for as many `draws` (Jeffreys); `cell_volume_mm3` (lower end,
    median, upper end of the 90 % interval), the integral of the cell density.
    """

    day: float
    probability: float
    lower: float
    upper: float
    threshold_mm3: float
    cell_volume_mm3: tuple[float, float, float]
    draws: int


def complete_response(
    prediction: Forecast, day: float, *, threshold_mm3: float = float(THRESHOLD_MM3)
) -> CompleteResponse:
    """The chance that on `day`, that of surgery, the tumour has all but gone.

    Neoadjuvant chemotherapy of breast cancer aims at it (Weis et al. 2015, Cancer Res 75:4697, predict it from the
    cells that a model expects at the end of therapy); what counts as gone is our own choice, see `THRESHOLD_MM3`.

    Raises `InputError` for a day that the forecast does not have, or a threshold that is not positive.
    """
    if not (np.isfinite(threshold_mm3) and threshold_mm3 > 0):
        raise InputError(f"threshold_mm3 must be a positive volume, got {threshold_mm3}")
    volumes = prediction.at([day]).quantities["cell_volume_mm3"][:, 0]
    gone, draws = int(np.sum(volumes < threshold_mm3)), len(volumes)
    lower, upper = beta.ppf([0.05, 0.95], gone + 0.5, draws - gone + 0.5)
    return CompleteResponse(
        day=float(day),
        probability=gone / draws,
        lower=0.0 if gone == 0 else float(lower),
        upper=1.0 if gone == draws else float(upper),
        threshold_mm3=float(threshold_mm3),
        cell_volume_mm3=tuple(np.quantile(volumes, [0.05, 0.5, 0.95]).tolist()),
        draws=draws,
    )
