"""Derivatives of every model and observation against central differences.

    python experiments/calibration/gradients.py [MODEL ...] [--own-steps]

For each name of conf/model the inverse problem of its virtual (synthetic) patient, as the main job makes it, of the
visits up to `calibration.until_day`; a spatial patient is grown and fitted on a grid of 4 mm or coarser, with its first
three visits, as a derivative is right or wrong on any grid. Derivatives in whitened coordinates, near the prior's
median:

- gradient of `log_density` in reverse mode, which NUTS and SVI use;
- Jacobian of `residuals` in forward mode, which Levenberg-Marquardt uses;
- Gauss-Newton Hessian of `residuals` times a vector, forward and then reverse mode, which Laplace uses for fields;
- without space the whole Hessian of `log_density` times a vector, forward over forward mode. The splitting solver has
  rules of its own for first derivatives, which cannot be derived again: in space nothing uses second ones.

Each is compared with central differences of fourth order of what it is the derivative of, relative to its largest entry
in size: at most 1e-6 is asked for, in float64. Adaptive solvers change their steps with the parameters, and derivatives
hold the steps fixed, so that the two differ by as much as the solver errs: models without space are checked with steps
of a fixed length, where there is no such error; `--own-steps` adds the gradient with
the solver's own.
"""

import argparse
import sys
from dataclasses import replace
from functools import partial
from unittest import mock

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from hydra import compose, initialize_config_dir

import twinjax.calibration.problem as problem_module
from twinjax.calibration import InverseProblem, course_problem, longitudinal_problem, single_scan_problem
from twinjax.calibration.curvature import gauss_newton_product, residuals_and_jacobian
from twinjax.core.config import choices, conf_dir, instantiate
from twinjax.job import model_of, settings_of
from twinjax.model import AbstractSpatialModel, UntimedFisherKPP
from twinjax.patient import PatientData, VirtualCourse
from twinjax.patient.virtual_organ import VirtualOrgan
from twinjax.simulation import simulate

LARGEST_ERROR = 1e-6
OWN_STEPS = "gradient, adaptive steps"
# Coarser than any fit, so that one core does a model in a minute.
COARSE_MM, VISITS = 4.0, 3
# Patients whose own is scanned and processed, or needs the templates of a whole brain.
INSTEAD = {"glioblastoma": "virtual_glioblastoma_maps", "glioblastoma_single_scan": "virtual_glioblastoma_maps"}
# A glioma with a necrotic core is grown by the imaging pipeline's own patient; its model is fitted to the same scans.
INSTEAD["glioblastoma_necrotic"] = "virtual_glioblastoma_maps"
# Short: where a model has a kink (a quota below which cells do not grow) a longer one reaches across it.
STEP = 1e-4
FIXED = partial(simulate, stepsize_controller=diffrax.ConstantStepSize())


def problem_of(name: str) -> InverseProblem:
    """The inverse problem of a model of conf/model and its virtual patient, small."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        patient = [f"patient={INSTEAD[name]}"] if name in INSTEAD else []
        job = ["+job=single_scan"] if name == "glioblastoma_single_scan" else [f"model={name}"]
        config = compose("config", [*job, *patient])
    settings = settings_of(config)
    prior, solver = (instantiate(config[part], where=part) for part in ("prior", "solver"))
    described = instantiate(config.patient, where="patient")
    if isinstance(described, VirtualCourse):
        past = described.generate()
        past = past.until(settings.last_calibrated_day(past.days.tolist()))
        return course_problem(past, model_of(config, None), prior, solver=solver)
    assert isinstance(described, VirtualOrgan)
    edge = max(COARSE_MM, *described.model.domain.spacing)
    coarse = described.model.on(described.model.domain.resampled(edge))
    scans = replace(described, model=coarse, visit_days=described.visit_days[:VISITS], scan_voxel_mm=(edge,) * 3)
    made = scans.generate()
    model = model_of(config, made.brain_mask)
    model = model.on(model.domain.resampled(edge))
    options = {"correlation_length_mm": settings.correlation_length_mm, "solver": solver, "max_step": settings.max_step}
    if isinstance(model, UntimedFisherKPP):
        first = PatientData.from_visits("one scan", made.visits[:1], brain_mask=made.brain_mask)
        return single_scan_problem(first, model, prior, **options)
    return longitudinal_problem(made, model, prior, margin_mm=settings.margin_mm, **options)


def differences(function, z, direction) -> np.ndarray:
    """The derivative along `direction` by central differences of fourth order."""
    near, far = (
        (np.asarray(function(z + s * direction)) - np.asarray(function(z - s * direction))) / (2 * s)
        for s in (STEP, 2 * STEP)
    )
    return (4 * near - far) / 3


def error(found, expected) -> float:
    found, expected = np.asarray(found), np.asarray(expected)
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))


# The values that are differenced come with the derivatives: two programs less are compiled.
@eqx.filter_jit
def density_and_gradient(problem: InverseProblem, z):
    return jax.value_and_grad(problem.log_density)(z)


@eqx.filter_jit
def hessian_product(problem: InverseProblem, z, v):
    """Forward over forward mode: the change along `v` of the slope along every axis."""
    density = partial(problem.log_density, adjoint=diffrax.ForwardMode())

    def slope(z, axis):
        return jax.jvp(density, (z,), (axis,))[1]

    axes = jnp.eye(problem.dimension)
    return jax.vmap(lambda axis: jax.jvp(lambda z: slope(z, axis), (z,), (v,))[1])(axes)


def check(problem: InverseProblem) -> dict[str, float]:
    """Name of a derivative to its largest error, relative to its largest entry."""
    n = problem.dimension
    rng = np.random.default_rng(0)
    z, axes = jnp.asarray(0.3 * rng.normal(size=n)), jnp.eye(n)
    v = jnp.asarray(rng.normal(size=n) / np.sqrt(n))
    density, gradient = (lambda z, part=part: density_and_gradient(problem, z)[part] for part in (0, 1))
    residuals, jacobian = (lambda z, part=part: residuals_and_jacobian(problem, z, axes)[part] for part in (0, 1))
    numerical = np.stack([differences(residuals, z, axis) for axis in axes])
    found = {
        "gradient": error(gradient(z), [differences(density, z, axis) for axis in axes]),
        "Jacobian": error(jacobian(z), numerical),
        "Gauss-Newton-vector": error(gauss_newton_product(problem, z, v), numerical @ (numerical.T @ np.asarray(v))),
    }
    if not isinstance(problem.whole.model, AbstractSpatialModel):
        found["Hessian-vector"] = error(hessian_product(problem, z, v), differences(gradient, z, v))
    return found


def check_model(problem: InverseProblem, *, own_steps: bool = False) -> dict[str, float]:
    """`check`, without space with fixed steps; with `own_steps` also the gradient with the solver's adaptive ones."""
    if isinstance(problem.whole.model, AbstractSpatialModel):
        return check(problem)
    with mock.patch.object(problem_module, "simulate", FIXED):
        found = check(problem)
    # Or what was compiled with fixed steps would be used again, here and by whoever comes next.
    jax.clear_caches()
    if own_steps:
        z = jnp.asarray(0.3 * np.random.default_rng(0).normal(size=problem.dimension))
        axes = jnp.eye(problem.dimension)
        expected = [differences(lambda z: density_and_gradient(problem, z)[0], z, axis) for axis in axes]
        found[OWN_STEPS] = error(density_and_gradient(problem, z)[1], expected)
    return found


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of conf/model; all unless given")
    parser.add_argument("--own-steps", action="store_true", help="the gradient with adaptive steps, too")
    chosen = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    columns = ("gradient", "Jacobian", "Gauss-Newton-vector", "Hessian-vector", OWN_STEPS)
    print("| model | observations | parameters | " + " | ".join(columns) + " | within 1e-6 |")
    print("| --- " * (4 + len(columns)) + "|", flush=True)
    for name in chosen.models or choices("model"):
        problem = problem_of(name)
        found = check_model(problem, own_steps=chosen.own_steps)
        kinds = sorted({type(one).__name__.removesuffix("Observation") for one in problem.tumor.observation.values()})
        cells = [f"{found[column]:.1e}" if column in found else "" for column in columns]
        good = all(value <= LARGEST_ERROR for column, value in found.items() if column != OWN_STEPS)
        row = [name, ", ".join(kinds), str(problem.dimension), *cells, "yes" if good else "NO"]
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
