"""The one place where published units become twinjax's: day, litre, milligram."""

from collections.abc import Mapping

from jax.core import Tracer

from twinjax.core.errors import InputError

# The unit at the end of a parameter's name, longest first, and its factor. Amounts of substance need a molar mass.
UNITS = {
    "_l_per_minute": 1440.0,
    "_l_per_hour": 24.0,
    "_l_per_day": 1.0,
    "_umol_per_hour": 24.0,
    "_ug_per_hour": 24e-3,
    "_mg_per_hour": 24.0,
    "_per_hour": 24.0,
    "_per_day": 1.0,
    "_umol_per_l": 1.0,
    "_ug_per_l": 1e-3,
    "_mg_per_l": 1.0,
    "_l": 1.0,
}


def in_base_units(
    published: Mapping[str, float], where: str, *, molar_mass_g_per_mol: float | None = None
) -> dict[str, float]:
    """Parameters by name without their unit, in litres, milligrams and days: `clearance_l_per_hour` to `clearance`.

    Raises `InputError` for a name that ends in no unit of `UNITS`, a name that is given in two units, a value that is
    not a number above 0, and a unit in µmol without a molar mass.
    """
    converted: dict[str, float] = {}
    for name, value in published.items():
        unit = next((unit for unit in UNITS if name.endswith(unit)), None)
        if unit is None:
            known = ", ".join(unit.removeprefix("_") for unit in UNITS)
            raise InputError(f"{where}: '{name}' ends in no known unit; end it in one of {known}")
        if not isinstance(value, Tracer) and not (isinstance(value, int | float) and 0 < value < float("inf")):
            raise InputError(f"{where}: {name} must be a number above 0, got {value!r}")
        factor = UNITS[unit]
        if "umol" in unit:
            if molar_mass_g_per_mol is None:
                raise InputError(f"{where}: {name} needs molar_mass_g_per_mol")
            factor = factor * molar_mass_g_per_mol * 1e-3
        plain = name.removesuffix(unit)
        if plain in converted:
            raise InputError(f"{where}: {plain} is given twice; give it in one unit")
        converted[plain] = factor * value
    return converted


def only(parameters: Mapping[str, float], names: set[str], where: str) -> None:
    """`InputError` unless `parameters` holds exactly `names`."""
    if set(parameters) != names:
        wrong = sorted(set(parameters) ^ names)
        raise InputError(f"{where}: needs {', '.join(sorted(names))}, each with its unit; see to {', '.join(wrong)}")
