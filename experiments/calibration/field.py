"""Diffusivity as a field: what it takes and what it gives, on synthetic tumours behind a barrier.

    python experiments/calibration/field.py plane [--figure docs/field-parameters.png]
    python experiments/calibration/field.py space

`plane`: a tumour in a plane, calibrated with one diffusivity and with a field of it; errors against the truth, L-BFGS
and the double pass of the randomised range finder beside Newton-CG and the block Krylov space. `space`: a tumour in
space with more than 10⁵ unknowns, whose noise is correlated over 6 mm.

The truth: on one side of a plane 6 mm from the seed D is 0.06, on the other 0.4 mm²/day, over some millimetres; rho is
0.06 1/day. It is solved by Tsit5 on a grid of half the voxel edge, and seen on days 20, 40 and 60 in every voxel with
noise of 0.05, independent in the plane; day 90 is held out. All synthetic.
"""

import argparse
import functools
import logging
import resource
import time
from dataclasses import dataclass

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage, optimize

from twinjax.calibration import Datum, InverseProblem, LevenbergMarquardt, LowRankLaplace, NewtonCG, Posterior, Prior
from twinjax.calibration.curvature import Expansion
from twinjax.domain import Domain
from twinjax.model import DensityField, FisherKPP
from twinjax.observation import CellDensityObservation
from twinjax.simulation import simulate
from twinjax.treatment import Regimen

DAYS, HELD_OUT = (20.0, 40.0, 60.0), 90.0
FAST, SLOW, RATE = 0.4, 0.06, 0.06
# Distance of the barrier from the seed and width of its flank, mm.
BARRIER, FLANK = 6.0, 1.5
NOISE = 0.05
# Where the density on the last calibrated day is above this the tumour is.
TUMOR = 0.05
REFINEMENT = 2


@dataclass(frozen=True)
class Case:
    """A square or a cube of tissue of `extent` mm, on voxels of `edge` mm.

    `length` and `resolution` of the field; `noise_length` over which the noise is correlated, 0 for not at all.
    """

    axes: int
    extent: float
    edge: float
    length: float = 12.0
    resolution: float | None = None
    noise_length: float = 0.0

    def positions(self, edge: float) -> np.ndarray:
        """(axes, grid) mm from the seed in the middle."""
        line = (np.arange(round(self.extent / edge)) + 0.5) * edge - self.extent / 2
        return np.stack(np.meshgrid(*[line] * self.axes, indexing="ij"))

    @functools.cached_property
    def domain(self) -> Domain:
        return Domain(np.ones((round(self.extent / self.edge),) * self.axes), (self.edge,) * self.axes)

    @functools.cached_property
    def diffusivity(self) -> np.ndarray:
        """The truth on the grid of the fit."""
        return _diffusivity(self.positions(self.edge))

    @functools.cached_property
    def truth(self) -> np.ndarray:
        """(start and days, grid) densities: means over the voxels of the fit."""
        edge = self.edge / REFINEMENT
        where = self.positions(edge)
        domain = Domain(np.ones(where.shape[1:]), (edge,) * self.axes)
        model = FisherKPP(domain, diffusivity=_diffusivity(where), proliferation_rate=RATE)
        start = 0.8 * np.exp(-np.sum(where**2, axis=0) / (2 * 5.0**2))
        # Half the longest step that is stable.
        step = 0.8 * edge**2 / (2 * self.axes * FAST)
        solved = simulate(
            model,
            Regimen(),
            start,
            [*DAYS, HELD_OUT],
            solver=diffrax.Tsit5(),
            stepsize_controller=diffrax.ConstantStepSize(),
            max_step=step,
        ).require_success()
        fine = np.concatenate([start[None], np.asarray(solved.states)])
        count = round(self.extent / self.edge)
        blocks = fine.reshape(len(fine), *[n for _ in range(self.axes) for n in (count, REFINEMENT)])
        return blocks.mean(axis=tuple(range(2, 2 * self.axes + 2, 2)))

    def noise(self, random) -> np.ndarray:
        """(grid) smoothed so that the integral of the autocorrelation is `noise_length` to the power of the axes."""
        white = random.standard_normal(self.domain.shape)
        if self.noise_length:
            white = ndimage.gaussian_filter(white, self.noise_length / (2 * np.sqrt(np.pi)) / self.edge)
        return NOISE * white / white.std()

    def observation(self, correlation: float) -> CellDensityObservation:
        """What `noise` is: independent, or smooth with a tenth of it white."""
        levels = (NOISE, 0.0) if not self.noise_length else (0.1 * NOISE, NOISE)
        return CellDensityObservation(noise_std=levels[0], discrepancy_std=levels[1], correlation_length_mm=correlation)

    def problem(self, *, field: bool) -> InverseProblem:
        random = np.random.default_rng(0)
        everywhere = np.arange(self.domain.mask.size)
        data = [
            Datum(day, "density", (u + self.noise(random)).ravel(), everywhere)
            for day, u in zip(DAYS, self.truth[1:], strict=False)
        ]
        correlation = self.noise_length or self.edge
        diffusivity = {"distribution": ("lognormal", 0.2, 0.8), "where": "model.diffusivity", "unit": "mm²/day"}
        if field:
            diffusivity["field"] = {"correlation_length_mm": self.length, "resolution_mm": self.resolution}
        rate = {"distribution": ("lognormal", 0.04, 0.5), "where": "model.proliferation_rate", "unit": "1/day"}
        return InverseProblem(
            FisherKPP(self.domain),
            Regimen(),
            DensityField(jnp.asarray(self.truth[0], float)),
            {"density": self.observation(correlation)},
            data,
            Prior({"diffusivity": diffusivity, "proliferation_rate": rate}),
            max_step=2.0,
        )

    @property
    def tumor(self) -> np.ndarray:
        """(grid) bool."""
        return self.truth[len(DAYS)] > TUMOR


def _diffusivity(where: np.ndarray) -> np.ndarray:
    share = 1 / (1 + np.exp((where[0] - BARRIER) / FLANK))
    return SLOW * (FAST / SLOW) ** share


def scores(case: Case, posterior: Posterior) -> dict[str, float]:
    """`forecast`: relative L2 error of the density of the held-out day at the mode; `log_diffusivity`: RMS error of
    ln D where the tumour is; `covered`: share of those voxels whose D is in its 90 % interval (NaN without a field)."""
    problem = posterior.problem
    assert problem is not None
    tumor = problem.tumor_at(jnp.asarray(posterior.z_map, float))
    late = simulate(tumor.model, tumor.regimen, tumor.state0(), [HELD_OUT], max_step=problem.max_step)
    expected, found = case.truth[-1], np.asarray(late.require_success().states[0])
    error = np.log(np.broadcast_to(np.asarray(tumor.model.diffusivity), expected.shape) / case.diffusivity)
    covered = np.nan
    if "diffusivity" in posterior.fields:
        field = posterior.fields["diffusivity"]
        spread = np.sqrt(np.log1p((field.std / field.mean) ** 2))
        covered = float((np.abs(error) < 1.6449 * spread)[case.tumor].mean())
    return {
        "forecast": float(np.linalg.norm(found - expected) / np.linalg.norm(expected)),
        "log_diffusivity": float(np.sqrt(np.mean(error[case.tumor] ** 2))),
        "covered": covered,
    }


def plane(figure: str | None) -> None:
    case = Case(axes=2, extent=80.0, edge=2.0)
    number = LevenbergMarquardt(estimate_noise=False).fit(case.problem(field=False), key=jax.random.key(0))
    calibrator = LowRankLaplace(mode=NewtonCG(estimate_noise=False))
    field = calibrator.fit(case.problem(field=True), key=jax.random.key(0))
    print("| D as | unknowns | error of day 90 | RMS error of ln D in the tumour | true D in 90 % interval |")
    print("|---|---|---|---|---|")
    for label, posterior in (("one number", number), ("a field", field)):
        found = scores(case, posterior)
        row = f"{found['forecast']:.3f} | {found['log_diffusivity']:.2f} | {100 * found['covered']:.0f} %"
        print(f"| {label} | {posterior.z_map.size} | {row} |")
    problem, z = field.problem, field.z_map
    assert problem is not None
    print(f"\nNewton-CG: {field.diagnostics['steps']} steps, {field.diagnostics['products_of_mode']} products")
    for label, count in _limited_memory(problem, Expansion(problem, z).cost).items():
        print(f"L-BFGS to {label} of the cost: {count} gradients")
    _compare_spectra(calibrator, problem, z)
    if figure:
        _draw(case, field, figure)


def _limited_memory(problem: InverseProblem, best: float) -> dict[str, int]:
    """Gradients that L-BFGS takes to come within a share of the best cost."""
    costs: list[float] = []

    def evaluate(z):
        here = Expansion(problem, z)
        costs.append(here.cost)
        return here.cost, here.gradient

    optimize.minimize(
        evaluate, np.zeros(problem.dimension), jac=True, method="L-BFGS-B", options={"maxfun": 300, "maxcor": 20}
    )
    lowest = np.minimum.accumulate(costs)
    return {
        f"{share:g}": int(np.argmax(lowest < best * (1 + share))) + 1 if lowest[-1] < best * (1 + share) else -1
        for share in (1e-2, 1e-4)
    }


def _compare_spectra(calibrator: LowRankLaplace, problem: InverseProblem, z: np.ndarray) -> None:
    """The eigenvalues of the block Krylov space beside those of the double pass, by the number of products."""
    expansion = Expansion(problem, z)
    exact = LowRankLaplace(smallest_eigenvalue=0.1, accuracy=1e-3, max_products=400).hessian(expansion)
    found = calibrator.hessian(expansion)
    print(f"eigenvalues > 0.1: {exact.eigenvalues.size}, information gain {exact.information_gain:.2f} nats")
    print(f"block Krylov: {found.products} products, {found.eigenvalues.size}, {found.information_gain:.2f} nats")
    for count in (found.products // 2, exact.eigenvalues.size + 10):
        sample = np.random.default_rng(0).standard_normal((z.size, count))
        range_ = np.linalg.qr(np.stack([expansion.product(v) - v for v in sample.T], axis=1))[0]
        images = np.stack([expansion.product(v) - v for v in range_.T], axis=1)
        values = np.linalg.eigvalsh(range_.T @ images)
        values = values[values > calibrator.smallest_eigenvalue]
        print(f"double pass: {2 * count} products, {values.size}, {0.5 * np.log1p(values).sum():.2f} nats")
    print("eigenvalues:", ", ".join(f"{value:.3g}" for value in exact.eigenvalues))


def space(extent: float, smallest: float) -> None:
    case = Case(axes=3, extent=extent, edge=2.4, noise_length=6.0)
    began = time.perf_counter()
    _ = case.truth
    print(f"truth: {time.perf_counter() - began:.0f} s", flush=True)
    problem = case.problem(field=True)
    z = jnp.zeros(problem.dimension)
    voxels = case.domain.mask.size
    print(f"{problem.dimension} unknowns, {voxels} voxels, {len(DAYS) * voxels} data", flush=True)
    expansion = Expansion(problem, np.zeros(problem.dimension))
    forward = jax.jit(lambda z: problem.simulate(z).states.sum())
    for label, run in (
        ("forward solve", lambda: forward(z).block_until_ready()),
        ("cost and gradient", lambda: Expansion(problem, np.zeros(problem.dimension))),
        ("product with the Hessian", lambda: expansion.product(np.ones(problem.dimension))),
    ):
        run()
        print(f"{label}: {min(_seconds(run) for _ in range(3)):.2f} s", flush=True)
    calibrator = LowRankLaplace(mode=NewtonCG(estimate_noise=False), smallest_eigenvalue=smallest)
    posterior = calibrator.fit(problem, key=jax.random.key(0))
    print(f"all: {time.perf_counter() - began:.0f} s")
    for key in (
        "verdict",
        "steps",
        "distance",
        "products_of_mode",
        "products_of_spectrum",
        "information_gain",
        "next_eigenvalue",
    ):
        print(f"{key}: {posterior.diagnostics[key]}")
    print("eigenvalues:", ", ".join(f"{value:.3g}" for value in posterior.diagnostics["eigenvalues"]))
    print("scores:", scores(case, posterior))
    number = LevenbergMarquardt(estimate_noise=False).fit(case.problem(field=False), key=jax.random.key(0))
    print("scores of one number:", scores(case, number))
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def _seconds(run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _draw(case: Case, posterior: Posterior, path: str) -> None:
    from matplotlib.figure import Figure

    field = posterior.fields["diffusivity"]
    spread = np.sqrt(np.log1p((field.std / field.mean) ** 2))
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    panels = figure.subplots(1, 4)
    images = (
        ("true D, mm²/day", case.diffusivity, (0.05, 0.45), "viridis"),
        ("D at the mode", field.mode, (0.05, 0.45), "viridis"),
        ("std of ln D (prior 0.8)", spread, (0, 0.8), "magma"),
        ("density on day 60", case.truth[len(DAYS)], (0, 1), "Greys"),
    )
    half = case.extent / 2
    for panel, (title, image, limits, colors) in zip(panels, images, strict=True):
        shown = panel.imshow(image.T, origin="lower", extent=(-half, half, -half, half), cmap=colors, clim=limits)
        edge = case.positions(case.edge)
        for u, dash in ((case.truth[0], "--"), (case.truth[len(DAYS)], "-")):
            panel.contour(edge[0].T, edge[1].T, u.T, [TUMOR], colors="tab:red", linewidths=1, linestyles=dash)
        panel.set(title=title, xlabel="mm")
        figure.colorbar(shown, ax=panel, shrink=0.8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["plane", "space"])
    parser.add_argument("--figure", help="of the plane: where to write it")
    parser.add_argument("--extent", type=float, default=96.0, help="of space, mm")
    parser.add_argument("--smallest", type=float, default=0.3, help="eigenvalue of space that counts")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("twinjax").setLevel(logging.DEBUG)
    if given.what == "plane":
        plane(given.figure)
    else:
        space(given.extent, given.smallest)
