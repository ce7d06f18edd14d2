"""Cell density from the diffusion of water."""

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.features.size import voxels_of

# Free water at body temperature, mm²/s.
ADC_WATER = 3.0e-3
# No tissue is far above it: an image beyond is in other units (µm²/s are a million times larger), mm²/s.
LARGEST_ADC = 0.1


def cellularity_from_adc(
    adc: np.ndarray, region: np.ndarray, adc_water: float = ADC_WATER, adc_min: float | None = None
) -> np.ndarray:
    """Cell density (fraction of carrying capacity, 0 to 1) from the apparent diffusion coefficient, 0 outside `region`.

    density = clip((adc_water - adc) / (adc_water - adc_min), 0, 1), as in Wu et al. 2022 (Cancer Res 82:3394):
    free water holds no cells, and the lowest ADC of the tumour is full.

    **Arguments:** `adc` (X, Y, Z) in mm²/s; `region` bool (X, Y, Z); `adc_water` in mm²/s at body temperature;
    `adc_min` in mm²/s, by default `lowest_adc(adc, region)`. For several visits pass the smallest of all. Raises
    `InputError` for an empty region or an `adc_min` outside (0, adc_water).
    """
    adc, region = _checked(adc, region)
    adc_min = lowest_adc(adc, region) if adc_min is None else adc_min
    if not 0 < adc_min < adc_water:
        raise InputError(f"adc_min {adc_min:g} must lie between 0 and adc_water {adc_water:g} mm²/s; is ADC in mm²/s?")
    density = np.zeros(adc.shape, dtype=np.float32)
    density[region] = np.clip((adc_water - adc[region]) / (adc_water - adc_min), 0, 1)
    return density


def cellularity_standard_deviation(
    density: np.ndarray,
    region: np.ndarray,
    adc_std: float | np.ndarray,
    adc_min: float,
    adc_water: float = ADC_WATER,
    *,
    adc_min_std: float = 0.0,
) -> np.ndarray:
    """Standard deviation (X, Y, Z) of `cellularity_from_adc`'s density, by propagation to first order.

    sqrt(adc_std² + density² adc_min_std²) / (adc_water - adc_min), 0 outside `region`: the ADC of a voxel and that of
    full tissue err independently, free water is known. Where the density was clipped at 0 or 1 it bounds the error.

    **Arguments:** `density` (X, Y, Z); `region` bool (X, Y, Z); `adc_std` in mm²/s, one number or (X, Y, Z), from a
    repeated scan or the residuals of the diffusion fit; `adc_min`, `adc_water` as given to `cellularity_from_adc` and
    `adc_min_std` in mm²/s. Raises `InputError` for a negative standard deviation or an `adc_min` outside
    (0, adc_water).
    """
    if not 0 < adc_min < adc_water:
        raise InputError(f"adc_min {adc_min:g} must lie between 0 and adc_water {adc_water:g} mm²/s; is ADC in mm²/s?")
    if np.min(adc_std) < 0 or adc_min_std < 0:
        raise InputError("adc_std and adc_min_std are standard deviations in mm²/s and cannot be negative")
    spread = np.sqrt(np.square(adc_std) + np.square(np.asarray(density, float) * adc_min_std)) / (adc_water - adc_min)
    return np.where(region, spread, 0.0).astype(np.float32)


def lowest_adc(adc: np.ndarray, region: np.ndarray) -> float:
    """The smaller of the minimum and mean - 1.96 sd of the ADC (mm²/s) over a bool (X, Y, Z) region.

    Voxels that hold 0 were not measured. Raises `InputError` for an empty region or one without a measured voxel.
    """
    adc, region = _checked(adc, region)
    measured = adc[region & (adc > 0)]
    if not measured.size:
        raise InputError("ADC is 0 in the whole region; check that the ADC map covers the tumour")
    return max(min(float(measured.min()), float(measured.mean() - 1.96 * measured.std())), 1e-9)


def _checked(adc: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    adc, region = np.asarray(adc, dtype=float), np.asarray(region, dtype=bool)
    if adc.shape != region.shape:
        raise InputError(f"ADC has shape {adc.shape}, the region {region.shape}; resample one to the other")
    voxels_of(region)
    return adc, region
