"""The evidence from weights, or from repeated estimates of it.

`InverseProblem.log_density` is the log likelihood, normalised over the data, plus the prior in z, normalised too: its
integral over z is the density of the data under prior and noise levels. Models can be compared by it only where their
noise levels are the same, or are parameters: not where each fit raises its own (`estimate_noise`).
"""

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp


def log_mean_weight(log_weights: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    """The logarithm of the mean of independent weights, and its Monte Carlo error (delta method).

    The error is the deviation of the mean over the mean; where one weight holds all, it is near 1 and no bound.
    """
    count = len(log_weights)
    # Over the mean, which is 1.
    relative = np.exp(log_weights - logsumexp(log_weights)) * count
    return float(logsumexp(log_weights) - np.log(count)), float(relative.std(ddof=1) / np.sqrt(count))
