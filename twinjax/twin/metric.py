"""How near a prediction came."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage


def dice(predicted: Bool[np.ndarray, "..."], observed: Bool[np.ndarray, "..."]) -> float:
    """2 |A and B| / (|A| + |B|) (Dice 1945, Ecology 26:297); 1 where both are empty."""
    total = predicted.sum() + observed.sum()
    return float(2 * (predicted & observed).sum() / total) if total else 1.0


def relative_volume_error(predicted: float, observed: float) -> float:
    """(predicted - observed) / observed; infinite where there was nothing to predict but something was."""
    if observed == 0:
        return 0.0 if predicted == 0 else float("inf")
    return (predicted - observed) / observed


def center_of_mass_distance(predicted: np.ndarray, observed: np.ndarray, spacing) -> float:
    """Distance (mm) between the centres of mass of two weights on one grid; NaN where one is empty."""
    if not predicted.any() or not observed.any():
        return float("nan")
    between = np.subtract(ndimage.center_of_mass(predicted), ndimage.center_of_mass(observed))
    return float(np.linalg.norm(between * np.asarray(spacing)))


def hausdorff_95_distance(predicted: Bool[np.ndarray, "..."], observed: Bool[np.ndarray, "..."], spacing) -> float:
    """95th percentile of the distances (mm) between the surface voxels of two masks; NaN where one is empty.

    Of both directions the larger (Huttenlocher et al. 1993, IEEE Trans Pattern Anal 15:850, for the distance whose
    maximum the percentile replaces).
    """
    if not predicted.any() or not observed.any():
        return float("nan")
    surfaces = [mask & ~np.asarray(ndimage.binary_erosion(mask), bool) for mask in (predicted, observed)]
    away = [np.asarray(ndimage.distance_transform_edt(~surface, sampling=spacing)) for surface in surfaces]
    return float(max(np.quantile(away[0][surfaces[1]], 0.95), np.quantile(away[1][surfaces[0]], 0.95)))


def concordance(predicted: Float[np.ndarray, "..."], observed: Float[np.ndarray, "..."]) -> float:
    """Lin's concordance correlation coefficient (Lin 1989, Biometrics 45:255)."""
    x, y = np.ravel(predicted).astype(float), np.ravel(observed).astype(float)
    scale = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return float(2 * np.mean((x - x.mean()) * (y - y.mean())) / scale) if scale > 0 else 1.0


def crps(draws: Float[np.ndarray, " draws"], observed: float) -> float:
    """Continuous ranked probability score of a forecast given by its draws: E |x - y| - E |x - x'| / 2.

    0 for a forecast that is certain and right, the absolute error of any that is certain; the unit is that of the
    draws (Gneiting & Raftery 2007, J Am Stat Assoc 102:359, equation 21).
    """
    x = np.sort(np.asarray(draws, float))
    # Of n sorted draws, sum over pairs |x_i - x_j| = 2 sum_i (2 i - n + 1) x_i.
    spread = float(np.sum((2 * np.arange(x.size) - x.size + 1) * x)) / x.size**2
    return float(np.mean(np.abs(x - observed))) - spread


def share_below(draws: Float[np.ndarray, " draws"], observed: float) -> float:
    """The probability integral transform: the share of draws below what was observed, and half of those equal to it.

    Evenly spread over [0, 1] where forecasts hold what they say (Gneiting et al. 2007, J R Stat Soc B 69:243). Many
    draws are equal where a region has vanished: all are 0.
    """
    return float(np.mean(draws < observed) + 0.5 * np.mean(draws == observed))


def coverage(lower: np.ndarray, upper: np.ndarray, observed: np.ndarray) -> float:
    """Share of the observations that lie inside their intervals."""
    return float(np.mean((lower <= observed) & (observed <= upper)))
