"""Reaction-diffusion and radiotherapy of gliomas against closed forms."""

from functools import cache

import jax.numpy as jnp
import numpy as np
from case import Case

from twinjax.domain import Domain
from twinjax.model import AnisotropicFisherKPP, FisherKPP, tensor_maps
from twinjax.simulation import simulate
from twinjax.treatment import Regimen, radiotherapy_course

DIFFUSIVITY, RATE = 0.1, 0.05  # mm²/day, 1/day


def front_speed(start: np.ndarray, spacing: float, days: tuple[float, float], max_step: float) -> float:
    """Cells gained a day (mm of full density) between two days, along a line."""
    model = FisherKPP(Domain(np.ones(start.shape), (spacing,)), diffusivity=DIFFUSIVITY, proliferation_rate=RATE)
    states = simulate(model, Regimen(), start, list(days), max_step=max_step).require_success().states
    place = np.asarray(states.sum(1)) * spacing
    return float(place[1] - place[0]) / (days[1] - days[0])


@cache
def compact_seed() -> float:
    return front_speed((np.arange(1240) * 0.25 < 2).astype(float), 0.25, (1000.0, 1500.0), 1.0)


def approach(t: float) -> float:
    """Place (mm) of a front from a compact seed at day t, up to a constant."""
    width = np.sqrt(DIFFUSIVITY / RATE)
    return 2 * np.sqrt(DIFFUSIVITY * RATE) * t - 1.5 * width * (np.log(t) + 2 * np.sqrt(np.pi / RATE / t))


def exact_wave() -> float:
    x = (np.arange(800) + 0.5) * 0.1 - 20.0
    wave = 1 / (1 + np.exp(x * np.sqrt(RATE / DIFFUSIVITY / 6))) ** 2
    return front_speed(wave, 0.1, (50.0, 150.0), 0.1)


def surviving_fraction(alpha: float) -> float:
    (course,) = radiotherapy_course(0, 30, 2.0, alpha=alpha).treatments
    return float(jnp.prod(jnp.stack([course.survival(i, jnp.ones(())) for i in range(30)])))


# Fibre at 0.5 rad, fractional anisotropy 0.6, kappa 10: concentration 6.
ANGLE, ANISOTROPY, DAYS, VARIANCE = 0.5, 0.6, 6.0, 2.0
ACROSS = (1 / np.tanh(6.0) - 1 / 6.0) / 6.0
FIBRE = np.array([np.cos(ANGLE), np.sin(ANGLE)])
TENSOR = 0.4 * 3 * (ACROSS * np.eye(2) + (1 - 3 * ACROSS) * np.outer(FIBRE, FIBRE))
COVARIANCE = VARIANCE * np.eye(2) + 2 * TENSOR * DAYS


@cache
def spread_gaussian() -> tuple[np.ndarray, np.ndarray]:
    """Positions (2, X, Y) and the density of a Gaussian after `DAYS` of movement along the fibre."""
    n, h = 96, 0.3
    s = np.sqrt(3 * ANISOTROPY**2 / (9 - 6 * ANISOTROPY**2))
    water = (1 - s) * np.eye(3) + 3 * s * np.outer([*FIBRE, 0], [*FIBRE, 0])
    domain = Domain(np.ones((n, n)), (h, h), maps=tensor_maps(np.multiply.outer(water, np.ones((n, n)))))
    model = AnisotropicFisherKPP(domain, diffusivity=0.4, proliferation_rate=0.0, anisotropy=10.0)
    x = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) * h - n * h / 2] * 2, indexing="ij"))
    start = np.exp(-(x**2).sum(0) / (2 * VARIANCE))
    return x, np.asarray(simulate(model, Regimen(), start, [DAYS], max_step=0.05).require_success().states[0])


def moment(a: int, b: int) -> float:
    x, u = spread_gaussian()
    return float((x[a] * x[b] * u).sum() / u.sum())


def height() -> float:
    _, u = spread_gaussian()
    # The four voxels around the centre, half an edge away in each direction.
    near = float(np.exp(-np.einsum("i,ij,j->", [0.15, 0.15], np.linalg.inv(COVARIANCE), [0.15, 0.15]) / 2))
    return float(u[48, 48]) / near


PAINTER = "Painter and Hillen 2013, J Theor Biol 323:25; closed form of the heat kernel"
CASES = [
    Case(
        "Fisher front from a compact seed, day 1000 to 1500",
        0.1414,
        compact_seed,
        # The speed is approached from below as 3/2 sqrt(D / rho) / t, 1 % at day 1250.
        0.015,
        "mm/day",
        "2 sqrt(D rho), Fisher 1937; its approach: Bramson 1983",
    ),
    Case(
        "the same front with the terms of its approach",
        (approach(1500.0) - approach(1000.0)) / 500,
        compact_seed,
        3e-3,
        "mm/day",
        "Bramson 1983; Ebert and van Saarloos 2000, Physica D 146:1",
    ),
    Case(
        "travelling wave of speed 5 sqrt(D rho / 6)",
        5 * (DIFFUSIVITY * RATE / 6) ** 0.5,
        exact_wave,
        2e-4,
        "mm/day",
        "Ablowitz and Zeppetella 1979, Bull Math Biol 41:835",
    ),
    Case(
        "60 Gy in 30 fractions, alpha 0.035",
        0.0805,
        lambda: surviving_fraction(0.035),
        6.3e-4,
        "survival",
        "linear-quadratic",
    ),
    Case(
        "60 Gy in 30 fractions, alpha 0.06",
        0.0133,
        lambda: surviving_fraction(0.06),
        3.8e-3,
        "survival",
        "linear-quadratic",
    ),
    Case("oblique fibre: variance along x", COVARIANCE[0, 0], lambda: moment(0, 0), 1e-4, "mm²", PAINTER),
    Case("oblique fibre: covariance of x and y", COVARIANCE[0, 1], lambda: moment(0, 1), 1e-4, "mm²", PAINTER),
    Case(
        "oblique fibre: height of the Gaussian",
        VARIANCE / float(np.sqrt(np.linalg.det(COVARIANCE))),
        height,
        3e-3,
        "1",
        PAINTER,
    ),
]
