"""The choices of conf/solver on one treated tumour: time and error, in double precision."""

import case
import diffrax
import jax
import numpy as np
from measure import Row, interleaved, median

from twinjax.core.config import load_named
from twinjax.simulation import simulate

CHOICES = [
    ("strang", 1.0),
    ("strang", 2.0),
    ("strang", 3.5),
    ("strang_long_step", 3.5),
    ("strang_long_step", 7.0),
    ("runge_kutta_legendre", None),
]
REPEATS = 5


def rows() -> list[Row]:
    with jax.enable_x64(True):
        domain = case.slab()
        model, regimen, state0 = case.model(domain, case.PARAMETERS), case.regimen(case.PARAMETERS), case.state0(domain)

        def solve(name, max_step):
            solver = load_named("solver", name)
            options = {} if max_step is None else {"max_step": max_step}
            return simulate(model, regimen, state0, [case.HORIZON_DAYS], solver=solver, **options)

        exact = simulate(
            model,
            regimen,
            state0,
            [case.HORIZON_DAYS],
            solver=diffrax.Tsit5(),
            stepsize_controller=diffrax.PIDController(rtol=1e-7, atol=1e-9),
        ).require_success()
        found = []
        for name, max_step in CHOICES:
            state = solve(name, max_step).require_success().states
            error = float(np.linalg.norm(state - exact.states) / np.linalg.norm(exact.states))
            seconds = interleaved({name: lambda n=name, m=max_step: solve(n, m).states}, REPEATS)
            step = "adaptive" if max_step is None else f"steps of {max_step:g} days"
            found.append(Row(f"solver={name}, {step}", f"{1e3 * median(seconds, name):.0f} ms", f"error {error:.1e}"))
        return found
