"""How far draws can be trusted, and the file that they are kept in: all that is asked of ArviZ.

ArviZ is imported when it is first needed, as that takes a second.
"""

import functools
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from twinjax.core.errors import InputError


def convergence(samples: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Rank-normalised split R-hat and bulk effective draws of every (chains, draws) (Vehtari et al. 2021)."""
    arviz = import_arviz()
    # Chains that never move have no variance to compare: their R-hat is infinite or NaN.
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "r_hat": {name: float(arviz.rhat(np.atleast_2d(v))) for name, v in samples.items()},
            "ess": {name: float(arviz.ess(np.atleast_2d(v))) for name, v in samples.items()},
        }


def smoothed_weights(log_weights: Float[np.ndarray, " draws"]) -> tuple[Float[np.ndarray, " draws"], float]:
    """Log weights with a generalised Pareto tail, normalised, and its shape k (Vehtari et al. 2024, JMLR 25:72)."""
    smoothed, pareto_k = import_arviz().psislw(log_weights)
    return np.asarray(smoothed), float(pareto_k)


def energy_information(energy: Float[np.ndarray, "chains draws"]) -> float:
    """The least E-BFMI of the chains (Betancourt 2016, arXiv:1604.00695), from their Hamiltonian energies."""
    return float(np.min(import_arviz().bfmi(np.asarray(energy, float))))


def write_netcdf(
    path: str | Path, variables: Mapping[str, np.ndarray], attribute: str, *, constants: Mapping[str, np.ndarray]
) -> None:
    """A netCDF file that `arviz.from_netcdf` opens: a posterior group of (chains, draws, ...) and one attribute.

    `constants` are arrays that have no draws; an attribute holds no more than 64 KiB.
    """
    data = import_arviz().from_dict(posterior=dict(variables), constant_data=dict(constants))
    data.posterior.attrs["twinjax"] = attribute
    data.to_netcdf(str(path))


def read_netcdf(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], str]:
    """Variables, constants and the attribute of `write_netcdf`; `InputError` for a file that it did not write."""
    try:
        data = import_arviz().from_netcdf(str(path))
        variables, constants = (
            {str(n): v.to_numpy() for n, v in group.items()} for group in (data.posterior, data.constant_data)
        )
        return variables, constants, data.posterior.attrs["twinjax"]
    except (OSError, KeyError, AttributeError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not a posterior saved by twinjax ({error})") from error


@functools.cache
def import_arviz() -> Any:
    # Its announcements of a coming rewrite are of no use to a user of twinjax.
    logging.getLogger("arviz.preview").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz
