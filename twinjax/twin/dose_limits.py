"""What a patient bears at most: BED of normal tissue, sums of doses, and the days between them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twinjax.treatment import Radiotherapy
from twinjax.twin.adjustable import TOTAL_DOSE, PlanVariables

# Bisections of the factor that fills a bound: to 1e-12 of it.
HALVINGS = 45
BED = "bed_normal_tissue_gy"


class DoseLimits(eqx.Module):
    """The bounds of a plan's sums, for what `variables` may change.

    BED of normal tissue is sum d (1 + d / (alpha/beta)), EQD2 = BED / (1 + 2 / (alpha/beta)) (Fowler 1989, Br J Radiol
    62:679), of tissue that gets the whole dose of the target. A bound of the one is one of the other.

    **Fields:** `variables`; `sums`, the bounded sums as (name of the treatment, name of the sum with its unit);
    `largest` (sums,), their bounds.
    """

    variables: PlanVariables
    sums: tuple[tuple[str, str], ...] = eqx.field(static=True)
    largest: Float[Array, " sums"]

    def __init__(self, variables: PlanVariables):
        self.variables = variables
        standard, sums, largest = jnp.asarray(variables.standard()), [], []
        for name, limits in variables.limits.items():
            given = jnp.asarray(self._standard_doses(name))
            if limits.normal_alpha_beta_ratio is not None:
                sums.append((name, BED))
                largest.append(_bed(given, limits.normal_alpha_beta_ratio))
            if limits.total_dose is not None or limits.normal_alpha_beta_ratio is None:
                sums.append((name, TOTAL_DOSE + self._unit(name)))
                largest.append(jnp.sum(given) if limits.total_dose is None else limits.total_dose)
        self.sums, self.largest = tuple(sums), jnp.asarray(largest, standard.dtype)

    def sums_of(self, x: Float[Array, " size"]) -> Float[Array, " sums"]:
        """Each sum of the plan of x."""
        return jnp.stack(
            [self._sum(self.variables.doses_and_times(x, name)[0], name, kind) for name, kind in self.sums]
        )

    @property
    def used_by_standard(self) -> float:
        """The largest share of a bound that the standard plan needs."""
        sums = [self._sum(self._standard_doses(name), name, kind) for name, kind in self.sums]
        return float(jnp.max(jnp.stack(sums) / self.largest))

    @eqx.filter_jit
    def used(self, x: Float[Array, " size"]) -> Float[Array, " sums"]:
        """Each sum of the plan of x as a share of its bound."""
        return self.sums_of(x) / self.largest

    @eqx.filter_jit
    def slack(self, x: Float[Array, " size"], share) -> Float[Array, " constraints"]:
        """What must not be negative: the part of `share` of each bound that is left; days beyond the least interval."""
        gaps = [
            jnp.diff(part.doses_and_times(x)[1]) - part.limits.least_interval_days
            for part in self.variables.parts
            if part.limits.move_days
        ]
        return jnp.concatenate([share - self.used(x), *gaps])

    @eqx.filter_jit
    def slack_gradient(self, x: Float[Array, " size"], share) -> Float[Array, "constraints size"]:
        return jax.jacfwd(lambda x: self.slack(x, share))(x)

    def filled(self, x: Float[np.ndarray, " size"], share: float, *, grow: bool = True) -> Float[np.ndarray, " size"]:
        """x with each treatment's doses scaled until they meet `share` of their bounds; without `grow` only down."""
        x = np.array(x, float)
        for name in self.variables.limits:
            entries = self.variables.dose_entries(name)
            own = [i for i, (of, _) in enumerate(self.sums) if of == name]
            given = x[entries]
            if not given.any():
                continue
            low, high = 0.0, 1 / given[given > 0].min() if grow else 1.0
            factor = high
            for _ in range(HALVINGS):
                x[entries] = np.minimum(factor * given, 1.0)
                within = (np.asarray(self.used(jnp.asarray(x)))[own] <= share).all()
                low, high = (factor, high) if within else (low, factor)
                factor = (low + high) / 2
            x[entries] = np.minimum(low * given, 1.0)
        return x

    def rows(self, x: Float[np.ndarray, " size"]) -> list[dict[str, Any]]:
        """One row per treatment and measure: the standard's, that of the plan of x, and the bound (None without one).

        The unit is the end of `measure`.
        """
        rows, bounds = [], dict(zip(self.sums, np.asarray(self.largest).tolist(), strict=True))
        for name, limits in self.variables.limits.items():
            plans = [self._standard_doses(name), np.asarray(self.variables.doses_and_times(jnp.asarray(x), name)[0])]
            ratio, unit = limits.normal_alpha_beta_ratio, self._unit(name)
            found: list[tuple[str, list[float], float | None]] = [
                ("largest_dose" + unit, [float(doses.max()) for doses in plans], limits.largest_dose),
                (TOTAL_DOSE + unit, [float(doses.sum()) for doses in plans], bounds.get((name, TOTAL_DOSE + unit))),
            ]
            if ratio is not None:
                bed, per_2gy = [float(_bed(doses, ratio)) for doses in plans], 1 + 2 / ratio
                found.append((BED, bed, bounds[name, BED]))
                found.append(("eqd2_normal_tissue_gy", [b / per_2gy for b in bed], bounds[name, BED] / per_2gy))
            rows += [
                {"treatment": name, "measure": measure, "standard": pair[0], "recommended": pair[1], "bound": bound}
                for measure, pair, bound in found
            ]
        return rows

    def _standard_doses(self, name: str) -> np.ndarray:
        return np.concatenate([part.doses for part in self.variables.parts if part.name == name])

    def _sum(self, doses, name: str, kind: str) -> Array:
        ratio = self.variables.limits[name].normal_alpha_beta_ratio
        return jnp.sum(doses) if kind != BED or ratio is None else _bed(doses, ratio)

    def _unit(self, name: str) -> str:
        return next(part.unit for part in self.variables.parts if part.name == name)


def _bed(doses, alpha_beta_ratio: float) -> Array:
    return Radiotherapy(jnp.zeros(jnp.shape(doses)), doses).biologically_effective_dose(alpha_beta_ratio)
