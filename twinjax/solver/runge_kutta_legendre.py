"""Runge-Kutta-Legendre: explicit stages that are stable over steps as long as s² stages of Euler."""

from collections.abc import Callable
from typing import ClassVar

import diffrax
import equinox as eqx
import jax
from equinox.internal import ω
from jaxtyping import Array

from twinjax.core.errors import InputError
from twinjax.domain import Execution, materialise


def coefficients(stages: int) -> list[tuple[float, float, float, float]]:
    """(mu, nu, mu~, gamma~) of the stages of RKL2, the first of which is a step of Euler by mu~.

    Meyer, Balsara and Aslam 2014 (J Comput Phys 257:594), equations 16 to 19.
    """
    w = 4 / (stages**2 + stages - 2)
    b = [1 / 3, 1 / 3, *((j**2 + j - 2) / (2 * j * (j + 1)) for j in range(2, stages + 1))]
    rows = [(0.0, 0.0, b[1] * w, 0.0)]
    for j in range(2, stages + 1):
        mu = (2 * j - 1) / j * b[j] / b[j - 1]
        nu = -(j - 1) / j * b[j] / b[j - 2]
        rows.append((mu, nu, mu * w, -(1 - b[j - 1]) * mu * w))
    return rows


def rkl2(operator: Callable[[Array], Array], u: Array, duration, stages: int) -> Array:
    """One step of du/dt = operator(u) by the second-order Runge-Kutta-Legendre method RKL2.

    For a linear operator with eigenvalues on the negative real axis. Stable for `duration` <= (s² + s - 2) /
    (2 spectral radius). Two stages (Heun) keep a density non-negative up to that bound on every grid; more stages may
    undershoot beside a jump between voxels on grids of two and three axes.
    """
    first = duration * operator(u)
    (_, _, start, _), *rows = coefficients(stages)
    previous, current = u, materialise(u + start * first)
    for mu, nu, weight, gamma in rows:
        # Written as changes of u: coefficients rounded to single precision then cannot create or destroy cells.
        change = mu * (current - u) + nu * (previous - u) + weight * duration * operator(current) + gamma * first
        # Or XLA would compute this stage's stencil anew for every neighbour that the next one reads.
        previous, current = current, materialise(u + change)
    return current


def stable_duration(spectral_radius, stages: int):
    """The longest stable step (days) of `rkl2` for an operator of this spectral radius (1/day)."""
    return (stages**2 + stages - 2) / (2 * spectral_radius)


class RungeKuttaLegendre(diffrax.AbstractSolver):
    """RKL2 for any dy/dt = f(t, y) that is stiff by diffusion, with an embedded error for step size control.

    `stages` right-hand sides a step and one for the error, that of the next step's start: 0.8 (y0 - y1) + 0.4 h
    (f0 + f1) (Sommeijer, Shampine and Verwer 1997, J Comput Appl Math 88:315, for the Chebyshev family). A controller
    such as `diffrax.PIDController` keeps the step within tolerance, and so within stability. `devices` and `kernel` as
    in `StrangSplitting`.
    """

    stages: int = eqx.field(static=True, default=6)
    devices: int = eqx.field(static=True, default=1)
    kernel: str = eqx.field(static=True, default="auto")

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar = diffrax.LocalLinearInterpolation

    def __check_init__(self):
        if self.stages < 2:
            raise InputError(f"RungeKuttaLegendre needs at least 2 stages, got {self.stages}")
        Execution.create(self.devices, self.kernel)

    def order(self, terms):
        return 2

    def error_order(self, terms):
        return 3

    def init(self, terms, t0, t1, y0, args):
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        control = terms.contr(t0, t1)
        f0 = jax.lax.cond(made_jump, lambda: terms.vf(t0, y0, args), lambda: solver_state)
        first = terms.prod(f0, control)
        (_, _, start, _), *rows = coefficients(self.stages)
        earlier, late = 0.0, start
        previous, current = y0, jax.tree.map(materialise, (y0**ω + start * first**ω).ω)
        for mu, nu, weight, gamma in rows:
            here = terms.vf_prod(t0 + late * (t1 - t0), current, args, control)
            change = mu * (current**ω - y0**ω) + nu * (previous**ω - y0**ω) + weight * here**ω + gamma * first**ω
            previous, current = current, jax.tree.map(materialise, (y0**ω + change).ω)
            earlier, late = late, mu * late + nu * earlier + weight + gamma
        f1 = terms.vf(t1, current, args)
        error = (0.8 * (y0**ω - current**ω) + 0.4 * (first**ω + terms.prod(f1, control) ** ω)).ω
        return current, error, dict(y0=y0, y1=current), f1, diffrax.RESULTS.successful

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)
