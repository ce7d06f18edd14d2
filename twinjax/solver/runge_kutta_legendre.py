"""Runge-Kutta-Legendre: explicit stages that are stable over steps as long as s² stages of Euler."""

from collections.abc import Callable

from jaxtyping import Array


def rkl2(operator: Callable[[Array], Array], u: Array, duration, stages: int) -> Array:
    """One step of du/dt = operator(u) by the second-order Runge-Kutta-Legendre method RKL2.

    Meyer, Balsara and Aslam 2014 (J Comput Phys 257:594), equations 16 to 19, for a linear operator with
    eigenvalues on the negative real axis. Stable for `duration` <= (s² + s - 2) / (2 spectral radius). Two stages
    (Heun) keep a density non-negative up to that bound on every grid; more stages may undershoot beside a jump
    between voxels on grids of two and three axes.
    """
    w = 4 / (stages**2 + stages - 2)
    b = [1 / 3, 1 / 3, *((j**2 + j - 2) / (2 * j * (j + 1)) for j in range(2, stages + 1))]
    first = duration * operator(u)
    previous, current = u, u + b[1] * w * first
    for j in range(2, stages + 1):
        mu = (2 * j - 1) / j * b[j] / b[j - 1]
        nu = -(j - 1) / j * b[j] / b[j - 2]
        gamma = -(1 - b[j - 1]) * mu * w
        # Written as changes of u: coefficients rounded to single precision then cannot create or destroy cells.
        increment = mu * (current - u) + nu * (previous - u) + mu * w * duration * operator(current) + gamma * first
        previous, current = current, u + increment
    return current


def stable_duration(spectral_radius, stages: int):
    """The longest stable step (days) of `rkl2` for an operator of this spectral radius (1/day)."""
    return (stages**2 + stages - 2) / (2 * spectral_radius)
