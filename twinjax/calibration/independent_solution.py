"""What methods share that solve a tumour's equation by themselves: which they take, and the solver as their judge."""

from typing import get_args

import jax.numpy as jnp
from jaxtyping import Array, Float

from twinjax.calibration.problem import InverseProblem
from twinjax.core.errors import InputError
from twinjax.model import AbstractReactionDiffusionModel, AnisotropicFisherKPP, FisherKPP, LungTumor

# Models whose state is a density that a pointwise flow and one linear operator move.
Described = FisherKPP | AnisotropicFisherKPP | LungTumor
# Relative L2 error against the solver's density above which a verdict is in doubt.
LARGEST_ERROR = 1e-2


def require_described(
    problem: InverseProblem, method: str, *others: type[AbstractReactionDiffusionModel]
) -> AbstractReactionDiffusionModel:
    """The model; `InputError` where it, its parameters or the treatments are not described, with what to take.

    `method`: its name in a sentence; `others`: models that it describes besides `Described`.
    """
    model, regimen = problem.tumor.model, problem.tumor.regimen
    models = (*get_args(Described), *others)
    if not (isinstance(model, models) and isinstance(model, AbstractReactionDiffusionModel)):
        known = ", ".join(described.__name__ for described in models)
        raise InputError(
            f"{method} describes one cell density on a grid ({known}), not {type(model).__name__}: "
            "take calibrator=laplace or importance"
        )
    if problem.prior.fields or any(jnp.ndim(getattr(model, name)) for name in model.takes_fields):
        raise InputError(
            f"{method} takes no parameters that differ from place to place: take calibrator=low_rank_laplace"
        )
    other = [t.name for t in (*regimen.local, *regimen.modulating)]
    if other:
        raise InputError(
            f"{method} takes treatments that kill the same share everywhere, not {', '.join(other)}: "
            "take calibrator=laplace or importance"
        )
    if not problem.days[-1] > float(problem.start):
        raise InputError("all data are of the day of the start: nothing has moved yet; take calibrator=laplace")
    return model


def error_against_solver(problem: InverseProblem, z, states: Float[Array, "days *grid"]) -> float:
    """Relative L2 error of densities on the days of the data against the solver's at `z`; infinite where it fails."""
    solved = problem.simulate(z)
    error = float(jnp.linalg.norm(states - solved.states) / jnp.linalg.norm(solved.states))
    return error if bool(solved.success) else float("inf")
