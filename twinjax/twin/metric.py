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


def concordance(predicted: Float[np.ndarray, "..."], observed: Float[np.ndarray, "..."]) -> float:
    """Lin's concordance correlation coefficient (Lin 1989, Biometrics 45:255)."""
    x, y = np.ravel(predicted).astype(float), np.ravel(observed).astype(float)
    scale = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return float(2 * np.mean((x - x.mean()) * (y - y.mean())) / scale) if scale > 0 else 1.0


def coverage(lower: np.ndarray, upper: np.ndarray, observed: np.ndarray) -> float:
    """Share of the observations that lie inside their intervals."""
    return float(np.mean((lower <= observed) & (observed <= upper)))
