"""Published runs and closed forms of pancreatic tumour growth."""

from functools import cache

import diffrax
import jax.numpy as jnp
import numpy as np
from case import Case

from twinjax.model import HuImmune, Simeoni, VolumeModel
from twinjax.model.hu import CELLS_PER_MM3, CYTOKINE, EFFECTOR, STELLATE, TUMOR
from twinjax.simulation import simulate
from twinjax.treatment import Regimen

TIGHT = diffrax.PIDController(rtol=1e-9, atol=1e-11)


@cache
def hu() -> dict[str, dict[float, float]]:
    """Cells (x, y, z) and pg (w, v) by day, from the published start of 1e9 tumour cells."""
    days = [10.0, 25.0, 50.0, 100.0, 200.0]
    model = HuImmune()
    start = model.initial_state(jnp.asarray(1e9 / CELLS_PER_MM3))
    states = simulate(model, Regimen(), start, days, stepsize_controller=TIGHT).require_success().states
    series = {
        "x": states.tumor * TUMOR,
        "y": states.stellate * STELLATE,
        "z": states.effectors * EFFECTOR,
        "w": states.promoting * CYTOKINE,
        "v": states.inhibiting * CYTOKINE,
    }
    return {name: dict(zip(days, np.asarray(values).tolist(), strict=True)) for name, values in series.items()}


@cache
def simeoni() -> dict[float, float]:
    """Weight in g by day, untreated from 0.05 g."""
    days, model = [5.0, 10.0, 15.0, 20.0, 25.0], Simeoni()
    states = simulate(model, Regimen(), model.initial_state(jnp.asarray(50.0)), days, stepsize_controller=TIGHT)
    return dict(zip(days, (np.asarray(states.require_success().states).sum(axis=1) / 1000).tolist(), strict=True))


@cache
def logistic() -> dict[float, float]:
    """Volume in mm³ by day: the untreated mice of Vishwanath et al. 2025."""
    days = [7.0, 14.0]
    model = VolumeModel(growth="logistic", proliferation_rate=0.02756, carrying_capacity_mm3=1169.755)
    states = simulate(model, Regimen(), model.initial_state(jnp.asarray(189.0)), days, stepsize_controller=TIGHT)
    return dict(zip(days, np.asarray(states.require_success().states).tolist(), strict=True))


HU = "Hu et al. 2019, BIOMD0000000792: its equations and values, solved separately"
SIMEONI = "Simeoni et al. 2004, Cancer Res 64:1094: its equations and values, solved separately"
VISHWANATH = "logistic curve with the values of Vishwanath et al. 2025, npj Syst Biol Appl"

CASES = [
    *(
        Case(f"Hu 2019, {name}({day:g})", expected, lambda name=name, day=day: hu()[name][day], 5e-5, unit, HU)
        for name, day, expected, unit in [
            ("x", 10.0, 6.9389e8, "cells"),
            ("x", 25.0, 7.0730e8, "cells"),
            ("x", 50.0, 9.3207e8, "cells"),
            ("x", 100.0, 2.1948e9, "cells"),
            ("x", 200.0, 1.4196e10, "cells"),
            ("y", 100.0, 1.9852e7, "cells"),
            ("z", 100.0, 2.5865e7, "cells"),
            ("w", 100.0, 6.1777e10, "pg"),
            ("v", 100.0, 1.0119e10, "pg"),
        ]
    ),
    *(
        Case(f"Simeoni 2004, weight on day {day:g}", expected, lambda day=day: simeoni()[day], 3e-5, "g", SIMEONI)
        for day, expected in [(5.0, 0.19579), (10.0, 0.76664), (15.0, 2.99525), (20.0, 7.05917), (25.0, 11.12917)]
    ),
    *(
        Case(f"logistic xenograft, day {day:g}", expected, lambda day=day: logistic()[day], 3e-6, "mm³", VISHWANATH)
        for day, expected in [(7.0, 221.598), (14.0, 258.337)]
    ),
]
