"""Biologically effective doses of clinical plans by the linear-quadratic model."""

import jax.numpy as jnp
from case import Case

from twinjax.treatment import Radiotherapy

SOURCE = "BED = n d (1 + d / (alpha/beta)), EQD2 = BED / (1 + 2 / (alpha/beta)); Fowler 1989, Br J Radiol 62:679"
# Stated to one decimal: half of it, and rounding.
HALF_DIGIT = 0.0501
# Name, total dose (Gy), fractions, alpha/beta (Gy), BED and EQD2 (Gy).
PLANS = [
    ("glioblastoma and lung 60/30", 60, 30, 10, 72.0, 60.0),
    ("lung 60/30", 60, 30, 2.8, 102.9, 60.0),
    ("lung 54/3", 54, 3, 10, 151.2, 126.0),
    ("lung 48/4", 48, 4, 10, 105.6, 88.0),
    ("lung 50/5", 50, 5, 10, 100.0, 83.3),
    ("prostate 78/39", 78, 39, 1.5, 182.0, 78.0),
    ("prostate 60/20", 60, 20, 1.5, 180.0, 77.1),
    ("prostate 36.25/5", 36.25, 5, 1.5, 211.5, 90.6),
    ("pancreas 33/5", 33, 5, 10, 54.8, 45.6),
    ("pancreas 50/5", 50, 5, 10, 100.0, 83.3),
    ("pancreas 50.4/28", 50.4, 28, 10, 59.5, 49.6),
]


def course(total: float, fractions: int, ratio: float, alpha: float = 0.035) -> Radiotherapy:
    return Radiotherapy(range(fractions), total / fractions, alpha=alpha, alpha_beta_ratio=ratio)


def survival(total: float, fractions: int, ratio: float, alpha: float) -> float:
    """Of all fractions, one by one."""
    plan = course(total, fractions, ratio, alpha)
    return float(jnp.prod(jnp.stack([plan.survival(i, jnp.ones(())) for i in range(fractions)])))


CASES = [
    case
    for name, total, fractions, ratio, bed, eqd2 in PLANS
    for case in (
        Case(
            f"BED of {name}, alpha/beta {ratio}",
            bed,
            lambda plan=(total, fractions, ratio): float(course(*plan).biologically_effective_dose()),
            HALF_DIGIT / bed,
            "Gy",
            SOURCE,
        ),
        Case(
            f"EQD2 of {name}, alpha/beta {ratio}",
            eqd2,
            lambda plan=(total, fractions, ratio): float(course(*plan).equivalent_dose_2gy()),
            HALF_DIGIT / eqd2,
            "Gy",
            SOURCE,
        ),
    )
] + [
    Case(
        f"surviving fraction after 60/30, alpha {alpha}",
        expected,
        lambda alpha=alpha: survival(60, 30, 10, alpha),
        5e-5 / expected,
        "",
        "exp(-alpha BED); alpha of Rockne et al. 2009, J Math Biol 58:561",
    )
    for alpha, expected in ((0.035, 0.0805), (0.06, 0.0133))
]
