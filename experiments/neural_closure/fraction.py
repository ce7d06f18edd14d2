"""The proliferating fraction of the prostate model as a calibrated network, where it differs from place to place.

    python experiments/neural_closure/fraction.py [--patients 8] [--figure FILE.png]

Synthetic glands in the plane. In half of them the tumour proliferates on one side (the direction differs from patient
to patient), in half of them everywhere alike. Serum PSA every 60 days and the density of tumour cells on days 240 and
480 are fitted; PSA, volume and density of day 900 are forecast. Fitted are the model with one fraction everywhere,
whose rate is unknown, and the model with a network of place, day and density, whose deviation is the one of largest
evidence (`fit_by_evidence` of this one patient: 0 is the model alone). The truth is solved by Tsit5 on a grid twice as
fine.
"""

import argparse
import logging
import sys
import time
from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from run import NORMAL, crps
from tqdm import tqdm

from twinjax.calibration import Datum, InverseProblem, LevenbergMarquardt, Prior, fit_by_evidence
from twinjax.domain import Domain
from twinjax.model import ConstantFraction, DensityField, PointSeed, Prostate
from twinjax.model.neural_fraction import NeuralFraction
from twinjax.network import GaussianNetwork
from twinjax.observation import CellDensityObservation, QuantityObservation
from twinjax.simulation import simulate
from twinjax.treatment import Regimen

jax.config.update("jax_enable_x64", True)
SHAPE, EDGE, REFINEMENT = (12, 10), 4.0, 2
PSA_DAYS, SCAN_DAYS, FORECAST_DAY = np.arange(60.0, 481.0, 60.0), (240.0, 480.0), 900.0
PSA_NOISE, DENSITY_NOISE, RATE = 0.05, 0.05, 0.008
DEVIATIONS, WIDTH, DRAWS = (0.0, 0.5, 1.0, 2.0, 4.0), 24, 400
GLAND = Domain(np.ones(SHAPE), (EDGE, EDGE))
TRUTHS = ("one side", "even")


def truth(number: int, kind: str):
    """Density at the start and on `SCAN_DAYS` and `FORECAST_DAY`, on the grid of the fit, and PSA on all days."""
    rng, shape = np.random.default_rng(number), tuple(REFINEMENT * n for n in SHAPE)
    fine = Domain(np.ones(shape), (EDGE / REFINEMENT,) * 2)
    position = np.asarray(fine.coordinates())
    middle = np.array([22.0, 18.0]) + rng.normal(size=2)
    angle = rng.uniform(0, 2 * np.pi)
    side = np.tensordot([np.cos(angle), np.sin(angle)], position - middle[:, None, None], axes=1)
    fraction = 0.1 + 0.85 / (1 + np.exp(-side / 3.0)) if kind == "one side" else np.full(shape, 0.5)
    rate = RATE * np.exp(0.2 * rng.normal())
    model = Prostate(fine, proliferation_rate=rate, diffusivity=0.01, proliferating_fraction=ConstantFraction(fraction))
    start = 0.5 * PointSeed(middle.tolist(), radius=8.0, amplitude=1.0)(fine)
    days = np.unique([*PSA_DAYS, *SCAN_DAYS, FORECAST_DAY])
    trajectory = simulate(model, Regimen(), model.initial_state(start), days, solver=diffrax.Tsit5()).require_success()
    states = trajectory.states
    volume = float(jax.vmap(model.quantities)(states)["volume_mm3"][-1])
    density = {day: coarse(states.density[i]) for i, day in enumerate(days) if day in (*SCAN_DAYS, FORECAST_DAY)}
    return coarse(start), density, dict(zip(days, np.asarray(states.serum_psa), strict=True)), volume, fraction, rng


def coarse(fine) -> np.ndarray:
    first, second = SHAPE
    return np.asarray(fine).reshape(first, REFINEMENT, second, REFINEMENT).mean(axis=(1, 3))


def problem_of(known, deviation: float | None) -> InverseProblem:
    """The model with one fraction everywhere, or with a network of that deviation; `known` is what was measured."""
    start, scans, psa = known
    rate = {"distribution": ("lognormal", RATE, 0.8), "where": "model.proliferation_rate", "unit": "1/day"}
    parameters, fraction = {"proliferation_rate": rate}, ConstantFraction(0.5)
    if deviation is not None:
        network = GaussianNetwork(5, deviation=deviation, width=WIDTH)
        fraction = NeuralFraction(axes=2, time_scale=FORECAST_DAY, network=network)
        where = "model.proliferating_fraction.network.last"
        parameters["fraction_residual"] = {"distribution": NORMAL, "where": where}
    model = Prostate(GLAND, proliferation_rate=RATE, diffusivity=0.01, proliferating_fraction=fraction)
    observations = {
        "cell_density": CellDensityObservation(
            noise_std=DENSITY_NOISE, discrepancy_std=0.0, correlation_length_mm=EDGE
        ),
        "psa_ng_ml": QuantityObservation("psa_ng_ml", PSA_NOISE),
    }
    everywhere = np.arange(start.size)
    data = [Datum(day, "cell_density", scan.ravel(), everywhere) for day, scan in scans.items()]
    data += [Datum(day, "psa_ng_ml", observations["psa_ng_ml"].transform(value)) for day, value in psa.items()]
    return InverseProblem(
        model, Regimen(), DensityField(jnp.asarray(start)), observations, data, Prior(parameters), max_step=15.0
    )


@eqx.filter_jit
def forecast(problem: InverseProblem, draws):
    """Density, PSA and volume of `FORECAST_DAY` for every draw."""

    def one(z):
        tumor = problem.tumor_at(z)
        days = jnp.asarray([FORECAST_DAY])
        states = simulate(tumor.model, tumor.regimen, tumor.state0(), days, max_step=problem.max_step).states
        last = jax.tree.map(lambda leaf: leaf[-1], states)
        return last.density, last.serum_psa, tumor.model.quantities(last)["volume_mm3"]

    return jax.lax.map(one, draws)


def scored(problem: InverseProblem, number: int, truth) -> tuple[dict, np.ndarray]:
    """How near the forecast came, and the mean density that it shows."""
    _, scans, psa, volume, _, _ = truth
    posterior = LevenbergMarquardt(estimate_noise=False, draws=DRAWS).fit(problem, key=jax.random.key(number))
    density, serum, volumes = (np.asarray(x) for x in forecast(problem, jnp.asarray(posterior.draws(DRAWS))))
    true = scans[FORECAST_DAY]
    some = np.maximum(true, density.mean(axis=0)) > 0.05
    low, high = np.quantile(density, [0.05, 0.95], axis=0)
    found = {
        "psa_crps": float(crps(np.log(serum)[:, None], np.log(psa[FORECAST_DAY]))[0]),
        "volume_error": float(abs(np.median(volumes) / volume - 1)),
        "density_error": float(np.sqrt(np.mean((density.mean(axis=0) - true)[some] ** 2))),
        "covered": float(np.mean((low <= true)[some] & (true <= high)[some])),
        "converged": posterior.diagnostics["converged"],
    }
    return found, density.mean(axis=0)


def both(number: int, kind: str) -> tuple[list[dict], tuple]:
    """The scores of the model alone and with the network, and what the figure shows."""
    made = truth(number, kind)
    start, scans, psa, _, fraction, rng = made
    seen = {day: scans[day] + DENSITY_NOISE * rng.normal(size=SHAPE) for day in SCAN_DAYS}
    read = {day: psa[day] * np.exp(PSA_NOISE * rng.normal()) for day in PSA_DAYS}
    known = start, seen, read
    where = "model.proliferating_fraction.network.deviation"
    deviation, _ = fit_by_evidence([problem_of(known, 1.0)], "fraction_residual", where, DEVIATIONS)
    alone, one = scored(problem_of(known, None), number, made)
    network, other = scored(problem_of(known, deviation), number, made)
    common = {"truth": kind, "patient": number}
    rows = [common | {"model": "alone"} | alone, common | {"model": "network", "deviation": deviation} | network]
    return rows, (fraction, scans[FORECAST_DAY], one, other)


def summary(rows: list[dict]) -> None:
    print("| truth | model | CRPS of ln PSA | volume error | density error | less the model's | in 90 % interval |")
    print("|" + " --- |" * 7)
    for kind in TRUTHS:
        alone, network = (
            [row for row in rows if (row["truth"], row["model"]) == (kind, m)] for m in ("alone", "network")
        )
        for of_it in (alone, network):
            difference = np.array([b["density_error"] - a["density_error"] for a, b in zip(alone, of_it, strict=True)])
            error = difference.std(ddof=1) / np.sqrt(difference.size)
            gain = f"{difference.mean():+.4f} ± {error:.4f}" if of_it is network else ""
            psa, volume, density, covered = (
                np.mean([row[key] for row in of_it]) for key in ("psa_crps", "volume_error", "density_error", "covered")
            )
            print(
                f"| {kind} | {of_it[0]['model']} | {psa:.4f} | {100 * volume:.1f} % | {density:.4f} | {gain} "
                f"| {100 * covered:.0f} % |"
            )
        print(
            f"<!-- {kind}: deviations {[row['deviation'] for row in network]}, "
            f"not converged {sum(not row['converged'] for row in alone + network)} -->"
        )


def figure(shown: tuple) -> Figure:
    """Fraction, and density of the forecast's day: true, by the model alone, with the network."""
    drawn = Figure(figsize=(9, 2.6), layout="constrained")
    titles = ("true fraction", f"true density, day {FORECAST_DAY:g}", "model alone", "with the network")
    for panel, title, image in zip(drawn.subplots(1, 4), titles, shown, strict=True):
        picture = panel.imshow(image.T, origin="lower", vmin=0, vmax=1, cmap="viridis")
        panel.set(title=title, xticks=[], yticks=[])
    drawn.colorbar(picture, ax=drawn.axes)
    return drawn


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=8)
    parser.add_argument("--figure", type=Path)
    chosen = parser.parse_args(arguments)
    logging.getLogger("twinjax").setLevel(logging.ERROR)
    rows, began = [], time.process_time()
    for kind in TRUTHS:
        for number in tqdm(range(chosen.patients), desc=kind):
            found, shown = both(number, kind)
            rows += found
            if chosen.figure and (kind, number) == (TRUTHS[0], 0):
                figure(shown).savefig(chosen.figure, dpi=110)
    summary(rows)
    print(f"{time.process_time() - began:.0f} s of processor time, compiling included")


if __name__ == "__main__":
    main(sys.argv[1:])
