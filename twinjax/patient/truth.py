"""`SpatialTruth`: what really happened inside a synthetic patient."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twinjax.domain import Domain


@dataclass(frozen=True, eq=False)
class SpatialTruth:
    """The truth that a forecast is scored against; never for fitting.

    **Fields:** `days` (T,) of the visits; `density` (T, X, Y, Z) float32 on `domain`; `levels`, region (`core`,
    `whole_tumor`) to the density from which it is seen; `parameters`, name in the prior to its true value.
    """

    days: tuple[float, ...]
    density: np.ndarray
    domain: Domain
    levels: Mapping[str, float]
    parameters: Mapping[str, float]
