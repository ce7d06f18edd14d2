"""Which voxels to treat: as many as asked for, so that they hold the cells of a tumour that is known by its draws."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import linprog
from scipy.sparse import csr_array, eye_array, hstack

from twinjax.core.errors import SolverError
from twinjax.twin.control import tail_weights
from twinjax.twin.plan import highest

Shares = Float[np.ndarray, "draws voxels"]
Target = Bool[np.ndarray, " voxels"]


class TailTarget(NamedTuple):
    """A target, and by how much the best of its volume can at most cover more in the worst draws."""

    target: Target
    gap: float


def covered(shares: Shares, target: Target) -> Float[np.ndarray, " draws"]:
    """Of each draw the share of its cells inside the target; `shares`: of a draw that of each voxel."""
    return shares[:, target].sum(axis=1)


def covered_in_tail(shares: Shares, target: Target, tail: float) -> float:
    """The mean covered share over the worst `tail` of the draws (`tail_weights`)."""
    found = covered(shares, target)
    return float(tail_weights(-found, tail) @ found)


def most_expected(shares: Shares, count: int, required: Target) -> Target:
    """The target of `count` voxels, `required` among them, that is expected to cover the largest share.

    The expected share is a sum over voxels, (1/S) sum_x sum_s shares[s, x], of which each voxel adds its own mean
    whatever else is in the target: those of the highest mean are best, exactly.
    """
    return highest(np.where(required, np.inf, shares.mean(axis=0)), count)


def most_in_tail(shares: Shares, count: int, required: Target, tail: float) -> TailTarget:
    """The target of `count` voxels, `required` among them, that covers most in the worst `tail` of the draws.

    With voxels x in [0, 1] that is a linear program (Rockafellar and Uryasev 2000, J Risk 2:21, eq. 9), in the scale
    of the largest share:

        maximise t - sum_s e_s / (tail S)  with  e_s >= t - sum_x shares[s, x] x,  e >= 0,  sum x = count

    It has S + 1 rows, so that at a vertex at most S + 1 voxels are parts; the largest of them are taken whole. `gap`
    is what that costs at most: for any weights w of the draws that a tail allows, the `count` highest of
    sum_s w_s shares[s, x] sum to no less than what any target covers in the tail (weak duality), and the multipliers
    of the rows are such weights.

    Raises `SolverError` where the program cannot be solved.
    """
    draws, voxels = shares.shape
    scaled = shares / shares.max()
    cost = np.r_[np.zeros(voxels), -1.0, np.full(draws, 1 / (tail * draws))]
    rows = hstack([csr_array(-scaled), np.ones((draws, 1)), -eye_array(draws)], format="csr")
    whole = csr_array(np.r_[np.ones(voxels), np.zeros(1 + draws)][None])
    bounds = np.c_[np.r_[required, -np.inf, np.zeros(draws)], np.r_[np.ones(voxels), np.full(1 + draws, np.inf)]]
    found = linprog(cost, rows, np.zeros(draws), whole, [count], bounds, method="highs-ds")
    if found.status != 0:
        raise SolverError(f"the target of the worst draws was not found: {found.message}")
    plans = [highest(found.x[:voxels], count), most_expected(shares, count, required)]
    target = max(plans, key=lambda plan: covered_in_tail(shares, plan, tail))
    weights = np.clip(-found.ineqlin.marginals, 0, 1 / (tail * draws))
    weighted = weights / weights.sum() @ shares
    bound = weighted[highest(np.where(required, np.inf, weighted), count)].sum()
    return TailTarget(target, max(0.0, float(bound) - covered_in_tail(shares, target, tail)))
