"""Prior distributions of named parameters, and where each one lives."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from twinjax.calibration.field import Axis, CosineField, Matern
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
    wanted, _ = FAMILIES[family]
    if len(arguments) != len(wanted) or not all(isinstance(a, int | float) and np.isfinite(a) for a in arguments):
        raise InputError(f"prior of {name}: {family} takes the numbers {', '.join(wanted)}, got {list(arguments)}")
    values = dict(zip(wanted, map(float, arguments), strict=True))
    for key in ("median", "sigma", "sd"):
        if values.get(key, 1.0) <= 0:
            raise InputError(f"prior of {name}: {key} must be positive, got {values[key]}")
    if "low" in values and values["low"] >= values["high"]:
        raise InputError(f"prior of {name}: low {values['low']} is not below high {values['high']}")
    return _made(family, *values.values())


# Made once: priors of equal numbers are then equal, and patients who have them share the compiled programs.
@functools.cache
def _made(family: str, *arguments: float) -> dist.Distribution:
    return FAMILIES[family][1](*arguments)


@dataclass(frozen=True)
class Parameter:
    """One unknown: its prior, and the leaves that it sets (`where`, dotted paths such as `model.diffusivity`).

    With a `field` it differs from place to place: `distribution` is then that of every voxel, and `field` says how
    those of two voxels belong together.
    """

    name: str
    distribution: dist.Distribution
    where: tuple[str, ...]
    unit: str = ""
    field: Matern | CosineField | None = None

    @property
    def size(self) -> int:
        """How many entries of z are its own."""
        if isinstance(self.field, Matern):
            raise InputError(f"prior of {self.name}: a field needs a grid; give the prior to an InverseProblem")
        return 1 if self.field is None else self.field.size

    @property
    def entry(self) -> dict:
        """What `Prior` makes it of."""
        kept = {"distribution": self.distribution, "where": self.where, "unit": self.unit}
        return kept if self.field is None else kept | {"field": self.field}

    def from_standard_normal(self, z: Array) -> Array:
        """The value whose prior quantile is that of `z` under a standard normal."""
        if isinstance(self.distribution, dist.LogNormal | dist.Normal):
            gaussian = jnp.asarray(self.distribution.loc) + jnp.asarray(self.distribution.scale) * z
            return jnp.exp(gaussian) if isinstance(self.distribution, dist.LogNormal) else gaussian
        # Away from 0 and 1, where the inverse distribution function and its gradient are infinite.
        return self.distribution.icdf(jnp.clip(ndtr(z), 1e-6, 1 - 1e-6))

    def value(self, z: Float[Array, " size"], axes: tuple[Axis, ...] | None) -> Array:
        """A scalar, or the field on the grid of the axes, from the parameter's own entries of z."""
        if self.field is None:
            return self.from_standard_normal(z[0])
        assert isinstance(self.field, CosineField)
        return self.from_standard_normal(self.field(z, self.field.nodes if axes is None else axes))


class Prior:
    """Independent priors, whitened: in z every parameter is standard normal, and z = 0 is every median.

    `parameters` maps a name to `{"distribution": ("lognormal", median, sigma), "where": [paths], "unit": "mm²/day"}`,
    and for a parameter that differs from place to place `"field": {"correlation_length_mm": 10}` (`Matern`). A scalar
    has one entry of z, a field as many as it has nodes (`blocks`), of which it knows when it has a place (`on`).
    """

    def __init__(self, parameters: Mapping[str, Mapping]):
        if not parameters:
            raise InputError("a prior needs at least one parameter")
        made = []
        for name, entry in parameters.items():
            unknown = set(entry) - {"distribution", "where", "unit", "field"}
            if unknown or not {"distribution", "where"} <= set(entry):
                raise InputError(
                    f"prior of {name}: keys must be distribution, where, unit and field, got {sorted(entry)}"
                )
            where = (entry["where"],) if isinstance(entry["where"], str) else tuple(entry["where"])
            law = distribution(entry["distribution"], name)
            made.append(Parameter(name, law, where, entry.get("unit", ""), _field(entry.get("field"), name)))
        self.parameters = tuple(made)

    # A prior is a static part of a problem: patients with the same one share the compiled programs.
    def __eq__(self, other):
        return isinstance(other, Prior) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def _key(self):
        return tuple((p.name, id(p.distribution), p.where, p.unit, p.field) for p in self.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the parameters that differ from place to place."""
        return tuple(parameter.name for parameter in self.parameters if parameter.field is not None)

    @property
    def places(self) -> dict[str, CosineField]:
        """Name to the coordinates of every field that has them."""
        return {p.name: p.field for p in self.parameters if isinstance(p.field, CosineField)}

    @property
    def size(self) -> int:
        """How many entries z has."""
        return sum(parameter.size for parameter in self.parameters)

    @property
    def blocks(self) -> dict[str, slice]:
        """Name to the entries of z that are its own."""
        ends = np.cumsum([0, *(parameter.size for parameter in self.parameters)]).tolist()
        return {name: slice(*ends[i : i + 2]) for i, name in enumerate(self.names)}

    def replaced(self, distributions: Mapping[str, dist.Distribution | Sequence]) -> "Prior":
        """The same prior with other distributions for some names; `InputError` for a name it does not have."""
        unknown = set(distributions) - set(self.names)
        if unknown:
            raise InputError(f"the prior has no parameter {sorted(unknown)}; it has {', '.join(self.names)}")
        return Prior(
            {p.name: p.entry | {"distribution": distributions.get(p.name, p.distribution)} for p in self.parameters}
        )

    def repeated(self, counts: Mapping[str, int]) -> "Prior":
        """The same prior with each parameter of `counts` as so many alike, at `x.0`, `x.1`, ... of its place `x`."""
        made = {}
        for p in self.parameters:
            for i in range(counts.get(p.name, 0)):
                made[f"{p.name}_{i + 1}"] = p.entry | {"where": [f"{path}.{i}" for path in p.where]}
            if p.name not in counts:
                made[p.name] = p.entry
        return Prior(made)

    def on(self, lower: tuple[float, ...], upper: tuple[float, ...]) -> "Prior":
        """The same prior with every field on this box (mm); fields that have a place keep it."""
        placed = {p.name: {"field": p.field.on(lower, upper)} for p in self.parameters if isinstance(p.field, Matern)}
        return Prior({p.name: p.entry | placed.get(p.name, {}) for p in self.parameters}) if placed else self

    def with_fields(self, places: Mapping[str, CosineField]) -> "Prior":
        """The same prior with these places of its fields."""
        return Prior(
            {p.name: p.entry | ({"field": places[p.name]} if p.name in places else {}) for p in self.parameters}
        )

    def values(self, z: Float[Array, " size"], axes: tuple[Axis, ...] | None = None) -> dict[str, Array]:
        """Named values in their units from whitened coordinates; fields on the grid of `axes`, or of their nodes."""
        blocks = self.blocks
        return {p.name: p.value(z[blocks[p.name]], axes) for p in self.parameters}


def _field(given, name: str) -> Matern | CosineField | None:
    """The field of an entry of the prior; `InputError` names the parameter."""
    if given is None or isinstance(given, Matern | CosineField):
        return given
    keys = [key.name for key in dataclass_fields(Matern)]
    if not isinstance(given, Mapping) or set(given) - set(keys) or keys[0] not in given:
        raise InputError(f"prior of {name}: field must have the keys {keys[0]} and perhaps {', '.join(keys[1:])}")
    numbers = {key: value for key, value in given.items() if value is not None}
    for key, value in numbers.items():
        if not isinstance(value, int | float):
            raise InputError(f"prior of {name}: field: {key} must be a number, got {value!r}")
    try:
        return Matern(**{key: float(value) for key, value in numbers.items()})
    except InputError as error:
        raise InputError(f"prior of {name}: field: {error}") from error
