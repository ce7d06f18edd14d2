"""What an effective draw costs, by each method.

    python experiments/calibration/cost.py [plane] [claret] [glioma] [--methods importance nuts ...]

Prints one table a problem. All data are synthetic, from the model that is fitted: what is compared is the cost.

- `plane`: a treated tumour of 32 x 32 voxels of 2 mm, seen with noise at three visits; three unknowns.
- `claret`: sums of diameters on treatment, without space, as conf/model/claret.yaml has them; four unknowns.
- `glioma`: five visits of a treated glioblastoma in real anatomy (benchmarks/case.py), 77 x 116 x 36 voxels of
  1.5 x 1.5 x 3 mm; four unknowns. By importance sampling alone unless `--methods` says otherwise.

Double precision and two devices, as the `twinjax` command has them. Seconds hold the search of the mode, compiling and
all transitions of the warm-up.
"""

import argparse
import os
import sys
from pathlib import Path

# As the command does: JAX reads it once, at its import.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import jax
import jax.numpy as jnp
import numpy as np
from hydra import compose, initialize_config_dir

from twinjax.calibration import (
    Datum,
    EnsembleSampler,
    ImportanceSampler,
    InverseProblem,
    LevenbergMarquardt,
    NoUTurnSampler,
    Prior,
    SurrogateSampler,
    TemperedMonteCarlo,
    VariationalInference,
    course_problem,
)
from twinjax.core.config import conf_dir, instantiate
from twinjax.domain import Domain
from twinjax.job import model_of, settings_of
from twinjax.model import DensityField, FisherKPP
from twinjax.observation import CellDensityObservation
from twinjax.simulation import simulate
from twinjax.treatment import Radiotherapy, Regimen

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))
import case

MODE = LevenbergMarquardt(estimate_noise=False)
METHODS = {
    "laplace": MODE,
    "importance": ImportanceSampler(proposals=600, effective=400, progress=False, mode=MODE),
    "nuts": NoUTurnSampler(samples=500, warmup=50, chains=4, progress=False, mode=MODE),
    "svi": VariationalInference(progress=False, mode=MODE),
    "svi flow": VariationalInference(guide="flow", progress=False, mode=MODE),
    "ensemble": EnsembleSampler(progress=False, mode=MODE),
    "surrogate": SurrogateSampler(samples=1600, mode=MODE, progress=False),
    "smc": TemperedMonteCarlo(particles=300, progress=False, mode=MODE),
}
NOISE, CORRELATION_MM = 0.1, 6.0
PATHS = {
    "diffusivity": "model.diffusivity",
    "proliferation_rate": "model.proliferation_rate",
    "alpha": "regimen.radiotherapy.alpha",
    "sensitivity": "regimen.temozolomide.sensitivity",
}
# Prior medians as multiples of the truth.
OFF = {"diffusivity": 1.5, "proliferation_rate": 0.8, "alpha": 1.2, "sensitivity": 0.7}


def plane() -> InverseProblem:
    truth = {"diffusivity": 0.3, "proliferation_rate": 0.05, "alpha": 0.04}
    domain = Domain(np.ones((32, 32)), (2.0, 2.0))
    apart = np.linalg.norm(
        np.asarray(domain.coordinates()) - np.mean(domain.coordinates(), axis=(1, 2), keepdims=True), axis=0
    )
    model = FisherKPP(domain, diffusivity=truth["diffusivity"], proliferation_rate=truth["proliferation_rate"])
    regimen = Regimen([Radiotherapy(np.arange(20.0, 30.0), 2.0, alpha=truth["alpha"])])
    return measured(
        model, regimen, jnp.asarray(0.8 * np.exp(-(apart**2) / 72)), [15.0, 40.0, 70.0], truth, max_step=3.5
    )


def claret() -> InverseProblem:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", ["model=claret"])
    prior, solver = (instantiate(config[name], where=name) for name in ("prior", "solver"))
    patient = instantiate(config.patient, where="patient").generate()
    last = settings_of(config).last_calibrated_day(patient.days.tolist())
    return course_problem(patient.until(last), model_of(config, None), prior, solver=solver)


def glioma() -> InverseProblem:
    domain, truth = case.slab(), case.PARAMETERS
    model, regimen = case.model(domain, truth), case.regimen(truth)
    return measured(model, regimen, case.state0(domain), [40.0, 70.0, 110.0, 170.0, 270.0], truth, max_step=4.0)


def measured(model, regimen, state0, days, truth, *, max_step: float) -> InverseProblem:
    """The tumour of `truth`, seen on `days` with noise that is one for each cube of the correlation length."""
    domain, rng = model.domain, np.random.default_rng(0)
    blocks = [max(1, round(CORRELATION_MM / spacing)) for spacing in domain.spacing]
    index = np.flatnonzero(domain.mask)
    data = []
    for day, density in zip(
        days, np.asarray(simulate(model, regimen, state0, days, max_step=max_step).states), strict=True
    ):
        noise = NOISE * rng.normal(size=[-(-n // b) for n, b in zip(domain.shape, blocks, strict=True)])
        for axis, b in enumerate(blocks):
            noise = noise.repeat(b, axis=axis)
        seen = density + noise[tuple(slice(n) for n in domain.shape)]
        data.append(Datum(day, "density", seen.ravel()[index], index))
    prior = {
        name: {"distribution": ("lognormal", truth[name] * OFF[name], 0.6), "where": PATHS[name]} for name in truth
    }
    observation = {
        "density": CellDensityObservation(
            noise_std=0.2 * NOISE, discrepancy_std=NOISE, correlation_length_mm=CORRELATION_MM
        )
    }
    return InverseProblem(model, regimen, DensityField(state0), observation, data, Prior(prior), max_step=max_step)


PROBLEMS = {"plane": plane, "claret": claret, "glioma": glioma}


def row(name: str, problem: InverseProblem) -> str:
    """One line of the table, of one fit."""
    d = METHODS[name].fit(problem, key=jax.random.key(0)).diagnostics
    unit = "gradients" if "gradients" in d else "solves"
    evidence = "" if d.get("log_evidence") is None else f"{d['log_evidence']:.2f}"
    if d.get("log_evidence_error") is not None:
        evidence += f" ± {d['log_evidence_error']:.2f}"
    # Draws of the Laplace approximation cost nothing beside its mode: any number of them.
    least = "any" if name == "laplace" else f"{min(d['ess'].values()):.0f}"
    each = "" if name == "laplace" else f"{d[unit] / min(d['ess'].values()):.1f}"
    rate = "" if name == "laplace" else f"{1e3 * d['seconds_per_effective_draw']:.0f} ms"
    seconds = f"{d['seconds']:.1f} s"
    return "| " + " | ".join([name, f"{d[unit]} {unit}", least, each, seconds, rate, evidence, d["verdict"]]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="*", help=f"of {', '.join(PROBLEMS)}; all unless given")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), help="all unless given; glioma: importance")
    chosen = parser.parse_args()
    if unknown := set(chosen.problems) - set(PROBLEMS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(PROBLEMS)}")
    jax.config.update("jax_enable_x64", True)
    for name in chosen.problems or PROBLEMS:
        problem = PROBLEMS[name]()
        print(f"\n{name}: {problem.dimension} unknowns, {sum(d.values.size for d in problem.data)} values\n")
        print(
            "| method | took | effective draws | each | in all | each | log evidence | verdict |\n" + "| --- " * 8 + "|"
        )
        for method in chosen.methods or (["importance"] if name == "glioma" else METHODS):
            print(row(method, problem), flush=True)


if __name__ == "__main__":
    main()
