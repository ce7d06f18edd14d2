"""The published criteria of progression, and which of them an outcome has.

All of them are for measurements of a patient; here they are applied to the course of a model, which has no scatter. New
lesions, clinical decline and steroids, which count as progression too, are no part of any model.
"""

import math

from twinjax.core.errors import InputError
from twinjax.twin.progression import Criterion

RANO = "RANO 2.0 (Wen et al. 2023, J Clin Oncol 41:5187)"
RECIST = "RECIST 1.1 (Eisenhauer et al. 2009, Eur J Cancer 45:228)"
PCWG = "PCWG3 (Scher et al. 2016, J Clin Oncol 34:1402)"
# mm: from that on a lesion is measured, in RANO in two perpendicular directions. That a volume is measurable from that
# of such a sphere on is our own conversion.
MEASURABLE_MM = 10.0
SPHERE = math.pi / 6
OWN = "our own choice: no published criterion"

# What a sphere grows by: 25 % of its product of diameters, which RANO has too, is 40 % of its volume. RANO has no
# absolute increase. A lesion too small to be measured has progressed when it has become measurable.
RANO_VOLUME = Criterion(
    "rano_2_0",
    "RANO 2.0",
    RANO,
    "a volume 40 % above {}, and measurable (at least that of a sphere of 10 mm)",
    relative=0.4,
    measurable=SPHERE * MEASURABLE_MM**3,
)
RANO_DIAMETER = Criterion(
    "rano_2_0",
    "RANO 2.0, of a sphere",
    f"{RANO}; a mean diameter taken as that of a sphere, as is our own choice",
    "the volume of a sphere of that diameter 40 % above {}, and the diameter at least 10 mm",
    relative=0.4,
    measurable=SPHERE * MEASURABLE_MM**3,
    scale=SPHERE,
    power=3.0,
)
RECIST_DIAMETER = Criterion(
    "recist_1_1", "RECIST 1.1", RECIST, "a (sum of) diameters 20 % and 5 mm above {}", relative=0.2, absolute=5.0
)
# 20 % of a sphere's diameter are 73 % of its volume, which RECIST 1.1 says of lesions that are not measured. Of several
# lesions whose volumes are summed it is one sphere, whose diameter is less than the sum of theirs.
RECIST_VOLUME = Criterion(
    "recist_1_1",
    "RECIST 1.1, of a sphere",
    f"{RECIST}; a volume taken as that of one sphere, as is our own choice",
    "the diameter of a sphere of that volume 20 % and 5 mm above {}",
    relative=0.2,
    absolute=5.0,
    scale=SPHERE ** (-1 / 3),
    power=1 / 3,
)
# Without a decline PCWG3 counts from week 12 on, with one from the start; here from week 12 on in either case, as early
# rises are not to be acted on: a decline by next to nothing must not move the day by weeks.
PCWG_PSA = Criterion(
    "pcwg3",
    "PCWG3",
    f"{PCWG}, for castrate testosterone: a rise while treatment pauses is no resistance",
    "a PSA 25 % and 2 ng/mL above {}, still so three weeks later, and not in the first 12 weeks",
    relative=0.25,
    absolute=2.0,
    early_days=84.0,
    confirming_days=21.0,
)


def _forty_percent(of: str) -> Criterion:
    return Criterion("forty_percent", "40 %", f"{OWN} {of}", "40 % above {}", relative=0.4)


# End of a quantity's name to its criteria, the usual one first.
CRITERIA: dict[str, tuple[Criterion, ...]] = {
    "mm3": (RANO_VOLUME, RECIST_VOLUME, _forty_percent("was asked for")),
    "mm": (RECIST_DIAMETER, RANO_DIAMETER, _forty_percent("was asked for")),
    "psa_ng_ml": (PCWG_PSA, _forty_percent("was asked for")),
}
# RECIST 1.1 takes no tumour marker alone for progression, PCWG3 knows PSA alone.
WITHOUT_CRITERION = _forty_percent("is known for this quantity")


def ending_of(quantity: str) -> str | None:
    """The key of `CRITERIA` that the name of a quantity ends in; None for one without a published criterion."""
    return next((ending for ending in CRITERIA if quantity.endswith(ending)), None)


def criterion_for(quantity: str, name: str | None = None) -> Criterion:
    """The criterion of a quantity: by default the usual one of its unit, or the one called `name`.

    A volume has RANO 2.0, a diameter RECIST 1.1, PSA PCWG3; any other quantity 40 %, which is no published criterion.
    Raises `InputError` for a name that the quantity does not have.
    """
    known = CRITERIA.get(ending_of(quantity) or "", (WITHOUT_CRITERION,))
    chosen = known[0] if name is None else next((one for one in known if one.name == name), None)
    if chosen is None:
        names = ", ".join(one.name for one in known)
        raise InputError(f"progression: '{name}' is no criterion for '{quantity}'; choose one of {names}")
    return chosen
