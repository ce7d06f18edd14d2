"""`Posterior`: what calibration leaves behind, whatever the method."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from twinjax.calibration.diagnostics import convergence, read_netcdf, write_netcdf
from twinjax.calibration.field_posterior import Averages, FieldPosterior, place_as_dict, place_from_dict
from twinjax.calibration.problem import InverseProblem
from twinjax.core.errors import InputError

# Vehtari et al. 2021 (Bayesian Anal 16:667): R-hat below 1.01; 100 effective draws a chain. The demo-sized
# chains here are held to 1.05 and 100 effective draws in all, which keeps a mean within 0.1 deviations.
LARGEST_R_HAT = 1.05
SMALLEST_EFFECTIVE_DRAWS = 100
# A crop is exact to this density: a wall that no visible tumour reaches.
LARGEST_EDGE_DENSITY = 0.01
# A posterior variance above this share of the prior's means that the data said next to nothing.
MOSTLY_PRIOR = 0.5


class Summary(Mapping):
    """Name to value (a mode, an interval), with the `posterior` that it sums up."""

    def __init__(self, values: Mapping[str, Any], posterior: "Posterior"):
        self._values = dict(values)
        self.posterior = posterior

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self):
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws of named parameters, their mode, and how far to trust them.

    **Fields:**

    - `samples`: name to (chains, draws) in the parameter's unit; `z` (chains, draws, parameters) whitened. A field
      is here and in `mode` by its average over the tumour (`Averages`).
    - `fields`: name to what is known of a parameter that differs from place to place.
    - `mode`: name to the value at the posterior mode; `z_map` (parameters,) whitened.
    - `units`: name to unit.
    - `problem`: the inverse problem, with its final noise levels; None for a posterior read from a file.
    - `diagnostics`: `method`, `converged`, `verdict` (plain words); name to number for `r_hat` (None where draws
      are no chains), `ess` (bulk effective draws) and `contraction` (1 - posterior / prior variance in z); `noise`
      (`InverseProblem.noise`) and `warnings` (`InverseProblem.warnings`); `seconds`, the `gradients` or `solves` that
      it took, and `ess_per_gradient` or `ess_per_solve` and `seconds_per_effective_draw` of the parameter with the
      fewest effective draws; `log_evidence` (the logarithm of the data's density under prior and noise levels) and
      `log_evidence_error` where a method has it; and what it adds, such as `divergences` or `pareto_k`.
    - `curves`: stage to (steps,) the loss that a method lowers step by step; empty for others, and after `load`.
    """

    samples: Mapping[str, np.ndarray]
    z: np.ndarray
    mode: Mapping[str, float]
    z_map: np.ndarray
    units: Mapping[str, str]
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    problem: InverseProblem | None = None
    fields: Mapping[str, FieldPosterior] = field(default_factory=dict)
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def from_draws(
        cls,
        problem: InverseProblem,
        z,
        z_map,
        *,
        method: str,
        doubts: list[str],
        effective: float | None = None,
        fields: Mapping[str, FieldPosterior] | None = None,
        curves: Mapping[str, np.ndarray] | None = None,
        **extra: Any,
    ) -> "Posterior":
        """From whitened draws (chains, draws, parameters). `doubts` are what already speaks against them.

        `effective` is the effective number of draws of a method whose draws are independent, or resampled by weight:
        they are no chains, and have no R-hat. `fields`: what a method knows of them better than its draws do. `extra`
        joins the diagnostics; what it says of `seconds`, `gradients` or `solves` is divided by the effective draws of
        the worst parameter.
        """
        prior = problem.prior
        z, z_map = np.asarray(z, float), np.asarray(z_map, float)
        averages = Averages(problem, z_map)
        samples = averages.values(z)
        independent = {"r_hat": None, "ess": dict.fromkeys(samples, effective)}
        found = convergence(samples) if effective is None else independent
        diagnostics: dict[str, Any] = {"method": method, **found, **extra}
        diagnostics |= _efficiency(diagnostics)
        diagnostics["contraction"] = {
            name: float(1 - white.var() / averages.prior_variance(name)) for name, white in averages.whitened(z).items()
        }
        diagnostics["noise"] = problem.noise
        diagnostics["warnings"] = problem.warnings
        if unseen := diagnostics.get("unseen"):
            diagnostics["warnings"] = [
                *problem.warnings,
                f"no datum depends on {', '.join(unseen)}, whose posterior is the prior: leave it out of the prior, or "
                "give data that show it",
            ]
        diagnostics["edge_density"] = edge = float(problem.edge_density(jnp.asarray(z_map)))
        doubts = list(doubts)
        if edge > LARGEST_EDGE_DENSITY:
            doubts.append(f"the tumour reaches the edge of the box that was fitted (density {edge:.3f}); enlarge it")
        r_hat, ess = diagnostics["r_hat"] or {}, diagnostics["ess"]
        if any(not value < LARGEST_R_HAT for value in r_hat.values()):
            doubts.append(f"the chains disagree (R-hat up to {max(r_hat.values()):.2f}, wanted < {LARGEST_R_HAT})")
        if any(not value >= SMALLEST_EFFECTIVE_DRAWS for value in ess.values()):
            doubts.append(f"only {min(ess.values()):.0f} effective draws (wanted {SMALLEST_EFFECTIVE_DRAWS})")
        diagnostics["converged"] = not doubts
        verdict = "NOT CONVERGED: " + "; ".join(doubts) if doubts else "converged"
        diagnostics["verdict"] = "; WARNING: ".join([verdict, *problem.warnings])
        return cls(
            samples,
            z,
            {name: float(value) for name, value in averages.values(z_map).items()},
            z_map,
            {p.name: p.unit for p in prior.parameters},
            diagnostics,
            problem,
            {name: FieldPosterior.from_draws(problem, name, z, z_map) for name in prior.fields}
            if fields is None
            else fields,
            curves or {},
        )

    @property
    def map_estimate(self) -> Summary:
        """Name to the value at the posterior mode."""
        return Summary(self.mode, self)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.samples)

    @property
    def whitened_mode(self) -> dict[str, float]:
        """Scalar parameters to their mode in prior deviations."""
        found, position = {}, 0
        for name in self.names:
            if name not in self.fields:
                found[name] = float(self.z_map[position])
            position += self.fields[name].place.size if name in self.fields else 1
        return found

    def attach(self, problem: InverseProblem) -> "Posterior":
        """The same posterior for another problem of the same parameters: a finer grid, or after `load`.

        The noise levels that calibration found go along.
        """
        if tuple(problem.prior.names) != self.names:
            raise InputError(f"the problem's parameters {problem.prior.names} are not the posterior's {self.names}")
        if set(problem.prior.fields) != set(self.fields):
            raise InputError(
                f"the problem's fields are {sorted(problem.prior.fields)}, the posterior's {sorted(self.fields)}"
            )
        problem = problem.with_fields({name: of.place for name, of in self.fields.items()})
        noise = self.diagnostics["noise"]
        if set(noise) != set(problem.tumor.observation):
            raise InputError(
                f"the problem has the observations {', '.join(problem.tumor.observation)}, "
                f"the posterior was fitted to {', '.join(noise)}"
            )
        return replace(self, problem=problem.with_noise(noise))

    def draws(self, count: int, *, seed: int = 0) -> np.ndarray:
        """(count, parameters) whitened draws, spread evenly over all chains; `InputError` for a count below 1."""
        if count < 1:
            raise InputError(f"the number of draws must be at least 1, got {count}")
        flat = self.z.reshape(-1, self.z.shape[-1])
        if count >= len(flat):
            return flat[np.random.default_rng(seed).integers(len(flat), size=count)] if count > len(flat) else flat
        return flat[np.linspace(0, len(flat) - 1, count).round().astype(int)]

    def sample(self, count: int, *, seed: int = 0) -> dict[str, np.ndarray]:
        """Name to (count,) draws in the parameter's unit, drawn with replacement from all chains."""
        total = next(iter(self.samples.values())).size
        which = np.random.default_rng(seed).integers(total, size=count)
        return {name: values.ravel()[which] for name, values in self.samples.items()}

    def credible_interval(self, level: float = 0.95) -> Summary:
        """Name to the equal-tailed interval of `level` in (0, 1)."""
        if not 0 < level < 1:
            raise InputError(f"the level of a credible interval lies between 0 and 1, got {level}")
        tail = (1 - level) / 2
        return Summary(
            {name: tuple(np.quantile(v, [tail, 1 - tail]).tolist()) for name, v in self.samples.items()}, self
        )

    def rows(self, level: float = 0.9) -> list[dict[str, Any]]:
        """One row per parameter for tables and CSV."""
        interval = self.credible_interval(level)
        return [
            {
                "parameter": name,
                "unit": self.units[name],
                "map": self.mode[name],
                "median": float(np.median(self.samples[name])),
                "lower": interval[name][0],
                "upper": interval[name][1],
                "level": level,
                "r_hat": (self.diagnostics["r_hat"] or {}).get(name),
                "effective_draws": self.diagnostics["ess"][name],
                "contraction": self.diagnostics["contraction"][name],
                "informed_by": informed_by(self.diagnostics["contraction"][name]),
            }
            for name in self.names
        ]

    def save(self, path: str | Path) -> None:
        """Write a netCDF file that ArviZ opens (`arviz.from_netcdf`)."""
        kept = {"mode": dict(self.mode), "units": dict(self.units)}
        kept["diagnostics"] = dict(self.diagnostics)
        kept["fields"] = {name: place_as_dict(of.place) for name, of in self.fields.items()}
        constants = {f"{name}_{kind}": a for name, of in self.fields.items() for kind, a in of.arrays().items()}
        write_netcdf(
            path, {**self.samples, "z": self.z}, json.dumps(kept), constants={**constants, "z_map": self.z_map}
        )

    @classmethod
    def load(cls, path: str | Path) -> "Posterior":
        """Read what `save` wrote; `InputError` for another file."""
        variables, constants, attribute = read_netcdf(path)
        try:
            kept = json.loads(attribute)
            fields = {
                name: FieldPosterior(
                    place_from_dict(place), *(constants[f"{name}_{k}"] for k in ("mode", "mean", "std"))
                )
                for name, place in kept["fields"].items()
            }
            return cls(
                {name: variables[name] for name in kept["mode"]},
                variables["z"],
                kept["mode"],
                constants["z_map"],
                kept["units"],
                kept["diagnostics"],
                fields=fields,
            )
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}: not a posterior saved by twinjax ({error})") from error


def _efficiency(diagnostics: Mapping[str, Any]) -> dict[str, float]:
    """What the worst parameter's effective draws cost, of whatever was counted."""
    least, found = min(diagnostics["ess"].values()), {}
    for unit in ("gradient", "solve"):
        if count := diagnostics.get(f"{unit}s"):
            found[f"ess_per_{unit}"] = least / count
    if (seconds := diagnostics.get("seconds")) is not None:
        found["seconds_per_effective_draw"] = seconds / least
    return found


def informed_by(contraction: float) -> str:
    """What a parameter with that contraction of its variance was informed by, in plain words."""
    return "data" if contraction > 1 - MOSTLY_PRIOR else "mostly prior"
