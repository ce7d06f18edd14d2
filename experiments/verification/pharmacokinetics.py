"""Concentrations, exposures and half-lives of the drugs in `conf/pharmacokinetics`.

The values expected are those that the published parameters give by the closed form of each compartment model, worked
out apart from twinjax.
"""

from case import Case

from twinjax.core.config import load_named
from twinjax.pharmacokinetics import Dosing

HOUR = 1 / 24
WHOLE = 1e5  # days


def drug(name: str):
    return load_named("pharmacokinetics", name)


def concentration(name: str, amount: float, hours: float, infusion_hours: float = 0.0) -> float:
    """mg/L, `hours` after one dose (mg) began."""
    return float(drug(name).concentration(Dosing([0.0], amount, infusion_hours * HOUR), hours * HOUR))


def exposure(name: str, amount: float, infusion_hours: float = 0.0) -> float:
    """AUC in mg h/L of one dose (mg)."""
    return float(drug(name).exposure(Dosing([0.0], amount, infusion_hours * HOUR), 0.0, WHOLE)) / HOUR


def half_life(name: str, index: int) -> float:
    """Hours; from the shortest."""
    return float(drug(name).half_lives()[index]) / HOUR


def durvalumab(day: float) -> float:
    """mg/L, `day` days after the last of 40 doses of 1500 mg every 28 days, each a bolus."""
    return float(drug("durvalumab").concentration(Dosing([28.0 * k for k in range(40)], 1500.0), 39 * 28 + day))


def durvalumab_mean() -> float:
    """mg/L over the interval after the last of 40 doses."""
    model, doses = drug("durvalumab"), Dosing([28.0 * k for k in range(40)], 1500.0)
    return float(model.exposure(doses, 39 * 28.0, 40 * 28.0)) / 28.0


def case(name, expected, obtained, half_digit, unit, source) -> Case:
    """A value stated to `half_digit` (half a unit of its last digit)."""
    return Case(name, expected, obtained, half_digit / expected, unit, source)


JIANG = "Jiang et al. 2008, Br J Clin Pharmacol 65:326"
PEREZ_BLANCO = "Perez-Blanco et al. 2016"
AHMED = "Ahmed et al. 2020"
URIEN = "Urien and Lokiec 2004, Br J Clin Pharmacol 57:756"
ABEGESAH = "Abegesah et al. 2025"
YAMADA = "Yamada et al. 2025"

CASES = [
    *(
        case(
            f"gemcitabine 1730 mg in 30 min, {minutes} min",
            expected,
            lambda minutes=minutes: concentration("gemcitabine", 1730, minutes / 60, 0.5),
            half_digit,
            "mg/L",
            JIANG,
        )
        for minutes, expected, half_digit in (
            (15, 17.33, 5e-3),
            (30, 19.22, 5e-3),
            (60, 1.397, 5e-4),
            (120, 0.1667, 5e-5),
        )
    ),
    case("gemcitabine 1730 mg, AUC", 10.68, lambda: exposure("gemcitabine", 1730, 0.5), 5e-3, "mg h/L", JIANG),
    *(
        case(
            f"doxorubicin 108 mg bolus, {hours} h",
            expected,
            lambda hours=hours: 1e3 * concentration("doxorubicin", 108, hours),
            half_digit,
            "µg/L",
            PEREZ_BLANCO,
        )
        for hours, expected, half_digit in (
            (1, 57.89, 5e-3),
            (6, 19.94, 5e-3),
            (24, 8.393, 5e-4),
            (48, 5.818, 5e-4),
            (72, 4.046, 5e-4),
        )
    ),
    *(
        case(
            f"doxorubicin, half-life {k + 1}",
            expected,
            lambda k=k: half_life("doxorubicin", k),
            half,
            "h",
            PEREZ_BLANCO,
        )
        for k, (expected, half) in enumerate(((0.086, 5e-4), (2.17, 5e-3), (45.8, 5e-2)))
    ),
    case("doxorubicin 108 mg, AUC", 1.73, lambda: exposure("doxorubicin", 108), 5e-3, "mg h/L", PEREZ_BLANCO),
    case("cyclophosphamide, half-life", 5.96, lambda: half_life("cyclophosphamide", 0), 5e-3, "h", AHMED),
    case("cyclophosphamide 948 mg, AUC", 175, lambda: exposure("cyclophosphamide", 948), 0.5, "mg h/L", AHMED),
    case("cisplatin unbound, half-life 1", 0.33, lambda: half_life("cisplatin", 0), 5e-3, "h", URIEN),
    case("cisplatin unbound, half-life 2", 1.32, lambda: half_life("cisplatin", 1), 5e-3, "h", URIEN),
    case("durvalumab, half-life 2", 13.9, lambda: half_life("durvalumab", 1) * HOUR, 5e-2, "d", ABEGESAH),
    case("durvalumab 1500 mg q4w, steady peak", 512.2, lambda: durvalumab(0.0), 5e-2, "mg/L", ABEGESAH),
    case("durvalumab 1500 mg q4w, steady trough", 73.6, lambda: durvalumab(28.0), 5e-2, "mg/L", ABEGESAH),
    case("durvalumab 1500 mg q4w, steady mean", 179.8, durvalumab_mean, 5e-2, "mg/L", ABEGESAH),
    case("5-FU, half-life", 0.254, lambda: half_life("fluorouracil", 0), 5e-4, "h", YAMADA),
    case(
        "5-FU 4320 mg in 46 h, steady",
        0.525,
        lambda: concentration("fluorouracil", 2400 * 1.8, 46.0, 46.0),
        5e-4,
        "mg/L",
        YAMADA,
    ),
    case(
        "5-FU 4320 mg in 46 h, AUC", 24.13, lambda: exposure("fluorouracil", 2400 * 1.8, 46.0), 5e-3, "mg h/L", YAMADA
    ),
    case("5-FU 720 mg bolus, AUC", 4.02, lambda: exposure("fluorouracil", 400 * 1.8), 5e-3, "mg h/L", YAMADA),
    Case(
        "temozolomide, half-life (2.1 h is published)",
        2.1,
        lambda: half_life("temozolomide", 0),
        0.05 / 2.1,
        "h",
        "Ostermann et al. 2004, Clin Cancer Res 10:3728",
    ),
]
