"""`Dosing`: what was given when; and doses by body surface area or kidney function in mg."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError

# A common round figure for adults, and that of the doses in the sources here.
BODY_SURFACE_AREA_M2 = 1.8


class Dosing(eqx.Module):
    """A dosing history.

    **Fields:** `times` (n,) days at which each dose begins, `amounts` (n,) mg, `durations` (n,) days of infusion, 0 for
    a bolus or what is swallowed or injected.
    """

    times: Float[Array, " doses"]
    amounts: Float[Array, " doses"]
    durations: Float[Array, " doses"]

    def __init__(
        self, times: ArrayLike | Sequence, amounts: ArrayLike | Sequence, durations: ArrayLike | Sequence = 0.0
    ):
        self.times = jnp.atleast_1d(jnp.asarray(times, float))
        self.amounts = _per_dose(amounts, self.times, "amount (mg)")
        self.durations = _per_dose(durations, self.times, "duration (days)")


def _per_dose(values, times, what: str) -> Array:
    values = jnp.atleast_1d(jnp.asarray(values, float))
    values = jnp.broadcast_to(values, times.shape) if values.size == 1 else values
    if values.shape != times.shape:
        raise InputError(f"dosing: {times.size} times but {values.size} values of {what}; give one per time, or one")
    if not isinstance(values, Tracer):
        array = np.asarray(values)
        if not np.isfinite(array).all() or (array < 0).any():
            raise InputError(f"dosing: every {what} must be a finite number >= 0, got {array.tolist()}")
    return values


def body_surface_dose(dose_mg_m2, body_surface_area_m2: float = BODY_SURFACE_AREA_M2) -> Array:
    """A dose of mg/m² in mg. Raises `InputError` for a surface that no patient has."""
    if not 0.2 <= body_surface_area_m2 <= 4:
        raise InputError(f"body_surface_area_m2 must lie between 0.2 and 4 m², got {body_surface_area_m2}")
    return jnp.asarray(dose_mg_m2, float) * body_surface_area_m2


def calvert_dose(target_auc_mg_min_per_ml, glomerular_filtration_rate_ml_per_minute=100.0) -> Array:
    """Carboplatin in mg for a target AUC: dose = AUC (GFR + 25) (Calvert et al. 1989, J Clin Oncol 7:1748).

    The default filtration rate of 100 mL/min is our own choice.
    """
    rate = jnp.asarray(glomerular_filtration_rate_ml_per_minute, float)
    return jnp.asarray(target_auc_mg_min_per_ml, float) * (rate + 25.0)
