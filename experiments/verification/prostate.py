"""Prostate: serum PSA in closed form and at rest, and published typical patients."""

import jax.numpy as jnp
import numpy as np
from case import Case

from twinjax.domain import Domain
from twinjax.model import BiphasicPSA, Prostate, SwansonPSA, TestosteronePSA
from twinjax.simulation import simulate
from twinjax.treatment import AndrogenDeprivation, Regimen

GLAND_MM3 = 40e3
FOREVER = Regimen([AndrogenDeprivation([0.0], [1e4])])


def swanson(day: float) -> float:
    """Serum PSA of a gland of 40 cm³ with a tumour of 0.5 cm³ that doubles in a year."""
    model = SwansonPSA(growth_rate=np.log(2) / 365)
    states = simulate(model, Regimen(), model.initial_state(jnp.asarray(500.0)), [day]).require_success().states
    return float(states.psa[0])


def at_rest(exchange: float, breakdown: float) -> float:
    """Serum PSA of an even gland without tumour after three years, from none."""
    shape = (4, 4, 4)
    domain = Domain(np.ones(shape), ((GLAND_MM3 / 64) ** (1 / 3),) * 3)
    model = Prostate(domain, exchange_rate=exchange, tissue_breakdown_rate=breakdown, benign_secretion_rate=48.3)
    start = model.initial_state(jnp.zeros(shape))
    emptied = type(start)(
        density=start.density,
        tissue_psa=0 * start.tissue_psa,
        serum_psa=0 * start.serum_psa,
        testosterone=start.testosterone,
        day=start.day,
    )
    states = simulate(model, Regimen(), emptied, [1000.0], max_step=10.0).require_success().states
    return float(states.serum_psa[0])


def zou(what: str) -> float:
    """Nadir of the simulated course under continuous treatment, on whole days."""
    model, days = BiphasicPSA(), jnp.arange(1.0, 400.0)
    states = simulate(model, FOREVER, model.initial_state(jnp.asarray(1.0)), days).require_success().states
    psa = np.asarray(states.sensitive + states.resistant)
    return float(days[psa.argmin()]) if what == "day" else float(psa.min())


def snelder() -> float:
    """Castrate PSA relative to that at the baseline, after two years."""
    model = TestosteronePSA()
    states = simulate(model, FOREVER, model.initial_state(jnp.asarray(9.73)), [730.0]).require_success().states
    return float(states.psa[0]) / 9.73


SWANSON = "Swanson et al. 2001, closed form"
REST = "closed form of the steady state"
CASES = [
    *(
        Case(f"Swanson, serum PSA on day {day:g}", psa, lambda day=day: swanson(day), 2e-5, "ng/mL", SWANSON)
        for day, psa in ((0.0, 3.7918), (30.0, 3.8500), (365.0, 4.7836), (913.0, 8.4159))
    ),
    *(
        Case(
            f"PSA at rest, k = {exchange:g}, mu = {breakdown:g} 1/day",
            psa,
            lambda exchange=exchange, breakdown=breakdown: at_rest(exchange, breakdown),
            tolerance,
            "ng/mL",
            REST,
        )
        for exchange, breakdown, psa, tolerance in (
            (0.05, 0.0, 2.80, 1e-6),
            (0.5, 0.0, 2.80, 1e-6),
            (0.05, 0.05, 1.398, 4e-4),
            (0.005, 0.05, 0.2545, 2e-4),
        )
    ),
    # The parameters as published have three digits: with the rounding of the value itself, half a percent.
    Case("Zou, day of the nadir", 207.0, lambda: zou("day"), 5e-3, "day", "Zou et al. 2020, typical patient"),
    Case(
        "Zou, PSA at the nadir", 0.0227, lambda: zou("depth"), 5e-3, "of baseline", "Zou et al. 2020, typical patient"
    ),
    Case("Snelder, castrate PSA (15 of 449 ng/dL)", 0.0504, snelder, 1e-3, "of baseline", "Snelder et al. 2019"),
]
