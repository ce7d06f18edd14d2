"""Physics-informed networks and a discretised loss beside the solver; `python benchmarks/physics_informed.py`.

Every truth is made by another time stepper (Tsit5) on a finer grid, and comes to the grid of the fit by means over its
voxels. Tumours are synthetic, the anatomy of the last one is real (ICBM152). `relative L2` is of the density on all the
days of the data: of the forward problems against the truth, of the inverse ones against the solver's with the same
parameters. All are of one seed. Times include compiling.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import case
import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from measure import Row, machine, table

from twinjax.calibration import (
    AbstractCalibrator,
    Datum,
    DiscreteLoss,
    InverseProblem,
    LevenbergMarquardt,
    PhysicsInformedNetwork,
    Prior,
)
from twinjax.calibration.levenberg_marquardt import Mode
from twinjax.domain import Domain, resample
from twinjax.imaging.template import brain_template
from twinjax.model import DensityField, FisherKPP, PointSeed, UntimedFisherKPP
from twinjax.observation import CellDensityObservation, SegmentationObservation
from twinjax.simulation import simulate
from twinjax.treatment import Regimen

TRUTH = {"diffusivity": 0.5, "proliferation_rate": 0.06}
NOISE = 0.05
LENGTH_MM, SEED_RADIUS_MM = 48.0, 5.0
EXACT = diffrax.PIDController(rtol=1e-7, atol=1e-9)


@dataclass
class Problem:
    """**Fields:** `domain` and `start` of the fit, `truth` (days, grid) on it; `start_factor`: prior medians, where
    fits start, as multiples of `parameters`.
    """

    domain: Domain
    start: np.ndarray
    days: list[float]
    truth: np.ndarray
    parameters: dict[str, float]
    start_factor: float
    noise: float
    regimen: Regimen = field(default_factory=Regimen)

    def inverse(self) -> InverseProblem:
        rng = np.random.default_rng(0)
        index = np.flatnonzero(self.domain.mask)
        data = [
            Datum(day, "density", u.ravel()[index] + self.noise * rng.standard_normal(index.size), index)
            for day, u in zip(self.days, self.truth, strict=True)
        ]
        where = {
            name: {"distribution": ("lognormal", value * self.start_factor, 1.0), "where": f"model.{name}"}
            for name, value in self.parameters.items()
        }
        seen = CellDensityObservation(noise_std=NOISE, discrepancy_std=0.0, correlation_length_mm=1.0)
        model, initial = FisherKPP(self.domain), DensityField(jnp.asarray(self.start))
        return InverseProblem(model, self.regimen, initial, {"density": seen}, data, Prior(where))


def cube(axes: int, edge: float, days: list[float], *, start_factor: float, noise: float) -> Problem:
    """A Gaussian seed in the middle of a square of `LENGTH_MM`, or of a line; the truth on half the voxel edge."""
    coarse, fine = (Domain(np.ones((round(LENGTH_MM / h),) * axes), (h,) * axes) for h in (edge, edge / 2))
    centres = np.asarray(fine.coordinates()) + edge / 4 - LENGTH_MM / 2
    seed = 0.8 * np.exp(-np.sum(centres**2, axis=0) / (2 * SEED_RADIUS_MM**2))
    solved = simulate(
        FisherKPP(fine, **TRUTH), Regimen(), seed, days, solver=diffrax.Tsit5(), stepsize_controller=EXACT
    ).require_success()
    means = [_halved(u) for u in (seed, *np.asarray(solved.states))]
    return Problem(coarse, means[0], days, np.stack(means[1:]), TRUTH, start_factor, noise)


def patient() -> Problem:
    """54 mm of the ICBM152 brain at 3 mm, with radiotherapy and temozolomide; the truth at 1.5 mm."""
    template = brain_template(1.0)
    shape, parameters = np.full(3, 36), case.PARAMETERS
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    affine[:3, 3] = np.asarray(case.SEED_POSITION_MM) - 1.5 * (shape - 1) / 2
    white, grey = (
        resample(np.asarray(tissue, np.float32), template.affine, affine, tuple(shape))
        for tissue in (template.white_matter, template.grey_matter)
    )
    fine = Domain.from_tissue(white, grey, affine)
    coarse, regimen, days = fine.resampled(3.0), case.regimen(parameters), [40.0, 90.0]
    solved = simulate(
        case.model(fine, parameters),
        regimen,
        case.state0(fine),
        days,
        solver=diffrax.Tsit5(),
        stepsize_controller=EXACT,
    ).require_success()
    means = [np.where(coarse.mask, _halved(np.asarray(u)), 0.0) for u in (case.state0(fine), *solved.states)]
    growth = {name: parameters[name] for name in TRUTH}
    return Problem(coarse, means[0], days, np.stack(means[1:]), growth, 2.0, NOISE, regimen)


def _halved(u: np.ndarray) -> np.ndarray:
    for axis in range(u.ndim):
        u = u.reshape(*u.shape[:axis], -1, 2, *u.shape[axis + 1 :]).mean(axis=axis + 1)
    return u


def _relative(found, truth) -> float:
    return float(np.linalg.norm(np.asarray(found) - truth) / np.linalg.norm(truth))


def forward_row(what: str, problem: Problem, **settings) -> Row:
    inverse = problem.inverse()
    # Longer than all steps: the parameters stay where they are.
    steps = settings["steps"]
    method = PhysicsInformedNetwork(warmup=steps, estimate_noise=False, progress=False, **settings)
    clock = Clock()
    trained = method.train(inverse, key=jax.random.key(0))
    mine = _relative(trained.states(), problem.truth)
    taken = str(clock)
    began = time.perf_counter()
    solved = inverse.simulate(jnp.zeros(inverse.dimension)).require_success().states
    error, theirs = trained.error_against_solver(), _relative(solved, problem.truth)
    return Row(
        what,
        f"relative L2 {mine:.1e} in {taken}, {trained.state.count} steps; {error:.1e} from the solver on the same grid",
        f"solver: {theirs:.1e} in {time.perf_counter() - began:.1f} s, compiling included",
        "1e-3 in 120 s",
    )


class Clock:
    """The time since it was made, for a table."""

    def __init__(self):
        self.began, self.busy = time.perf_counter(), time.process_time()

    def __str__(self):
        passed, busy = time.perf_counter() - self.began, time.process_time() - self.busy
        return f"{passed:.0f} s ({busy:.0f} s of processor)"


def inverse_rows(
    what: str,
    inverse: InverseProblem,
    truth: dict[str, float],
    goal: str,
    methods: dict[str, AbstractCalibrator],
) -> Iterator[Row]:
    """One row for each of `methods`; `truth`: of those parameters that the table tells of."""
    clock = Clock()
    _, mode = LevenbergMarquardt(estimate_noise=False).fit_mode(inverse, key=jax.random.key(0))
    theirs = {name: float(value) for name, value in inverse.prior.values(jnp.asarray(mode.z)).items()}
    away = max(abs(theirs[name] / value - 1) for name, value in truth.items())
    fitted = f"solver and Levenberg-Marquardt: {clock}; {100 * away:.1f} % from the truth"
    for name, method in methods.items():
        yield _beside(f"{what}: {name}", inverse, method, mode, truth, fitted, goal)


def _beside(
    what: str,
    inverse: InverseProblem,
    method: AbstractCalibrator,
    mode: Mode,
    truth: dict[str, float],
    fitted: str,
    goal: str,
) -> Row:
    clock = Clock()
    posterior = method.fit(inverse, key=jax.random.key(0))
    taken = str(clock)
    theirs = inverse.prior.values(jnp.asarray(mode.z))
    apart = max(abs(posterior.mode[name] / float(theirs[name]) - 1) for name in truth)
    away = max(abs(posterior.mode[name] / value - 1) for name, value in truth.items())
    spread = posterior.z.reshape(-1, inverse.dimension).std(axis=0) / np.sqrt(np.diag(mode.covariance))
    found = posterior.diagnostics
    return Row(
        what,
        f"worst parameter {100 * apart:.2f} % from Levenberg-Marquardt's, {100 * away:.1f} % from the truth, "
        f"deviations {spread.min():.2f} to {spread.max():.2f} times its own, "
        f"relative L2 {found['relative_l2_error']:.1e}, in {taken}, "
        f"{found['steps']} steps; {'converged' if found['converged'] else 'not converged'}",
        fitted,
        goal,
    )


def both(what: str, problem: Problem, goal: str) -> Iterator[Row]:
    """The network and the discretised loss."""
    methods = {
        "discretised loss": DiscreteLoss(estimate_noise=False),
        "network": PhysicsInformedNetwork(estimate_noise=False, progress=False),
    }
    return inverse_rows(what, problem.inverse(), problem.parameters, goal, methods)


def single_scan() -> Iterator[Row]:
    """Two masks of a tumour of unknown age and place in a square of `LENGTH_MM`, the truth on half the voxel edge."""
    width, length, shift = 2.5, 16.0, (3.3, -2.1)
    coarse, fine = (Domain(np.ones((round(LENGTH_MM / h),) * 2), (h, h)) for h in (1.5, 0.75))
    centre = (LENGTH_MM - 1.5) / 2
    offset = np.asarray(fine.coordinates()) - 0.375 - centre - np.reshape(shift, (2, 1, 1))
    seed = 0.9 * np.exp(-np.sum(offset**2, axis=0) / (2 * 3.0**2))
    model = FisherKPP(fine, diffusivity=length * width / 2, proliferation_rate=length / (2 * width))
    grown = simulate(model, Regimen(), seed, [1.0], solver=diffrax.Tsit5(), stepsize_controller=EXACT).require_success()
    seen = {
        name: SegmentationObservation(coarse, threshold, noise_std=0.1, correlation_length_mm=3.0)
        for name, threshold in (("core", 0.6), ("whole", 0.3))
    }
    data = [
        Datum(1.0, name, _halved(np.asarray(grown.states[0]) > float(one.threshold)).ravel(), np.arange(32**2))
        for name, one in seen.items()
    ]
    prior = {
        "front_width": {"distribution": ("lognormal", 3.0, 0.6), "where": "model.front_width"},
        "growth_length": {"distribution": ("lognormal", 25.0, 0.6), "where": "model.growth_length"},
        "shift_x": {"distribution": ("normal", 0.0, 8.0), "where": "initial.shift_x"},
        "shift_y": {"distribution": ("normal", 0.0, 8.0), "where": "initial.shift_y"},
    }
    start = PointSeed([centre, centre], radius=3.0, amplitude=0.9)
    inverse = InverseProblem(UntimedFisherKPP(coarse), Regimen(), start, seen, data, Prior(prior), max_step=0.025)
    truth = {"front_width": width, "growth_length": length, "shift_x": shift[0], "shift_y": shift[1]}
    methods: dict[str, AbstractCalibrator] = {"discretised loss": DiscreteLoss(estimate_noise=False)}
    return inverse_rows("2-D, one scan of unknown age and seed, four parameters", inverse, truth, "5 %", methods)


def rows(names: list[str]) -> list[Row]:
    made = {
        "line": lambda: [
            forward_row(
                "1-D, forward, 192 voxels",
                cube(1, 0.25, [20.0, 40.0, 60.0], start_factor=1.0, noise=0.0),
                steps=60,
                width=12,
            )
        ],
        "plane": lambda: [
            forward_row(
                "2-D, forward, 192 x 192 voxels",
                cube(2, 0.25, [20.0, 40.0, 60.0], start_factor=1.0, noise=0.0),
                steps=100,
            )
        ],
        "inverse_line": lambda: both(
            "1-D, two parameters from two scans, 5 % noise",
            cube(1, 0.5, [20.0, 40.0], start_factor=2.0, noise=NOISE),
            "5 %",
        ),
        "inverse_plane": lambda: both(
            "2-D, two parameters from two scans, 5 % noise",
            cube(2, 1.0, [20.0, 40.0], start_factor=2.0, noise=NOISE),
            "5 %",
        ),
        "patient": lambda: both(
            "3-D virtual patient, 18 x 18 x 18 voxels, radiotherapy and temozolomide", patient(), "5 %, 1e-2 in 600 s"
        ),
        "scan": single_scan,
    }
    if unknown := set(names) - set(made):
        sys.exit(f"no problem {', '.join(sorted(unknown))}; choose from {', '.join(made)}")
    found = []
    for name in names or made:
        for row in made[name]():
            found.append(row)
            print("\n".join(table([row]).splitlines()[2:]), file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    print(machine(), flush=True)
    print(table(rows(sys.argv[1:])))
