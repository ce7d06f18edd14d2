"""Published runs of low-grade glioma (Mazzocco et al. 2015)."""

from functools import cache

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from case import Case

from twinjax.model import Mazzocco
from twinjax.model.mazzocco import DAYS_PER_MONTH
from twinjax.simulation import simulate
from twinjax.treatment import Chemotherapy, Regimen

KDE, GAMMA = 8.3 / DAYS_PER_MONTH, 0.254


@cache
def mazzocco(cycles: int, months: float) -> float:
    """Mean tumour diameter (mm) after unit doses of temozolomide on the first day of each of `cycles` months."""
    model = Mazzocco()
    doses = Chemotherapy(
        np.arange(cycles) * DAYS_PER_MONTH, 1.0, sensitivity=GAMMA * KDE, clearance_rate=KDE, reference_dose=1.0
    )
    regimen = Regimen([doses] if cycles else [])
    start = model.initial_state(jnp.asarray(1.72 + 32.1))
    controller = diffrax.PIDController(rtol=1e-9, atol=1e-11)
    solved = simulate(model, regimen, start, [months * DAYS_PER_MONTH], stepsize_controller=controller)
    state = jax.tree.map(lambda leaf: leaf[-1], solved.require_success().states)
    return float(model.quantities(state)["diameter_mm"])


MAZZOCCO = "Mazzocco et al. 2015, CPT Pharmacometrics Syst Pharmacol 4:728: its equations and values, solved separately"

CASES = [
    Case(
        f"Mazzocco 2015, {cycles} monthly doses, month {months}",
        expected,
        lambda cycles=cycles, months=months: mazzocco(cycles, months),
        2e-5,
        "mm",
        MAZZOCCO,
    )
    for cycles, months, expected in [
        (0, 6, 34.954),
        (0, 12, 36.453),
        (0, 24, 40.857),
        (6, 3, 32.615),
        (6, 6, 31.176),
        (6, 12, 30.289),
        (6, 18, 31.124),
        (6, 24, 33.895),
        (18, 12, 28.403),
        (18, 18, 26.618),
        (18, 24, 27.621),
        (18, 36, 36.950),
    ]
]
