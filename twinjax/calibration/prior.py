"""Prior distributions of named parameters, and where each one lives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from twinjax.core.errors import InputError

# name: (its arguments, the distribution). `lognormal` takes the median, not the mean of the logarithm.
FAMILIES = {
    "lognormal": (("median", "sigma"), lambda median, sigma: dist.LogNormal(np.log(median), sigma)),
    "normal": (("mean", "sd"), dist.Normal),
    "uniform": (("low", "high"), dist.Uniform),
    "truncated_normal": (
        ("mean", "sd", "low", "high"),
        lambda mean, sd, low, high: dist.TruncatedNormal(mean, sd, low=low, high=high),
    ),
}


def distribution(specification: dist.Distribution | Sequence, name: str) -> dist.Distribution:
    """A numpyro distribution from `("lognormal", median, sigma)` and its like; `InputError` names the parameter."""
    if isinstance(specification, dist.Distribution):
        try:
            scalar = jnp.shape(specification.icdf(0.5)) == ()
        # Gamma's and its like is in TensorFlow Probability, which twinjax does not install; others have none.
        except (ImportError, NotImplementedError) as error:
            kind = type(specification).__name__
            raise InputError(f"prior of {name}: {kind} has no inverse distribution function here") from error
        if not scalar:
            raise InputError(f"prior of {name}: the distribution must be that of one number")
        return specification
    if not specification:
        raise InputError(f"prior of {name}: give a family and its numbers, such as [lognormal, 0.1, 0.5]")
    family, *arguments = specification
    if family not in FAMILIES:
        raise InputError(f"prior of {name}: '{family}' is unknown; choose one of {', '.join(FAMILIES)}")
    wanted, make = FAMILIES[family]
    if len(arguments) != len(wanted) or not all(isinstance(a, int | float) and np.isfinite(a) for a in arguments):
        raise InputError(f"prior of {name}: {family} takes the numbers {', '.join(wanted)}, got {list(arguments)}")
    values = dict(zip(wanted, map(float, arguments), strict=True))
    for key in ("median", "sigma", "sd"):
        if values.get(key, 1.0) <= 0:
            raise InputError(f"prior of {name}: {key} must be positive, got {values[key]}")
    if "low" in values and values["low"] >= values["high"]:
        raise InputError(f"prior of {name}: low {values['low']} is not below high {values['high']}")
    return make(*values.values())


@dataclass(frozen=True)
class Parameter:
    """One unknown: its prior, and the leaves that it sets (`where`, dotted paths such as `model.diffusivity`)."""

    name: str
    distribution: dist.Distribution
    where: tuple[str, ...]
    unit: str = ""

    def from_standard_normal(self, z: Array) -> Array:
        """The value whose prior quantile is that of `z` under a standard normal."""
        if isinstance(self.distribution, dist.LogNormal | dist.Normal):
            gaussian = jnp.asarray(self.distribution.loc) + jnp.asarray(self.distribution.scale) * z
            return jnp.exp(gaussian) if isinstance(self.distribution, dist.LogNormal) else gaussian
        # Away from 0 and 1, where the inverse distribution function and its gradient are infinite.
        return self.distribution.icdf(jnp.clip(ndtr(z), 1e-6, 1 - 1e-6))


class Prior:
    """Independent priors, whitened: in z every parameter is standard normal, and z = 0 is every median.

    `parameters` maps a name to `{"distribution": ("lognormal", median, sigma), "where": [paths], "unit": "mm²/day"}`.
    """

    def __init__(self, parameters: Mapping[str, Mapping]):
        if not parameters:
            raise InputError("a prior needs at least one parameter")
        made = []
        for name, entry in parameters.items():
            unknown = set(entry) - {"distribution", "where", "unit"}
            if unknown or not {"distribution", "where"} <= set(entry):
                raise InputError(f"prior of {name}: keys must be distribution, where and unit, got {sorted(entry)}")
            where = (entry["where"],) if isinstance(entry["where"], str) else tuple(entry["where"])
            made.append(Parameter(name, distribution(entry["distribution"], name), where, entry.get("unit", "")))
        self.parameters = tuple(made)

    # A prior is a static part of a problem: patients with the same one share the compiled programs.
    def __eq__(self, other):
        return isinstance(other, Prior) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def _key(self):
        return tuple((p.name, id(p.distribution), p.where, p.unit) for p in self.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters)

    def replaced(self, distributions: Mapping[str, dist.Distribution | Sequence]) -> "Prior":
        """The same prior with other distributions for some names; `InputError` for a name it does not have."""
        unknown = set(distributions) - set(self.names)
        if unknown:
            raise InputError(f"the prior has no parameter {sorted(unknown)}; it has {', '.join(self.names)}")
        return Prior(
            {
                p.name: {
                    "distribution": distributions.get(p.name, p.distribution),
                    "where": p.where,
                    "unit": p.unit,
                }
                for p in self.parameters
            }
        )

    def values(self, z: Float[Array, " parameters"]) -> dict[str, Array]:
        """Named values in their units from whitened coordinates."""
        return {p.name: p.from_standard_normal(z[i]) for i, p in enumerate(self.parameters)}
