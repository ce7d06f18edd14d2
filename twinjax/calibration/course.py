"""The inverse problem of a patient as numbers over time: sizes and laboratory values."""

import logging
from collections.abc import Mapping

import diffrax
import jax
import jax.numpy as jnp

from twinjax.calibration.applicable import applicable
from twinjax.calibration.datum import Datum
from twinjax.calibration.prior import Prior
from twinjax.calibration.problem import InverseProblem
from twinjax.core.errors import InputError
from twinjax.model import AbstractLumpedModel, InitialSize
from twinjax.observation import QuantityObservation
from twinjax.patient import ClinicalCourse

log = logging.getLogger("twinjax")


def course_problem(
    patient: ClinicalCourse,
    model: AbstractLumpedModel,
    prior: Prior,
    *,
    noise: Mapping[str, float] | None = None,
    model_error: float = 0.0,
    solver: diffrax.AbstractSolver | None = None,
) -> InverseProblem:
    """All measurements of `patient` as data for `model`; give `patient.until(day)` to hold later ones out.

    The model starts on the first day on which its `size_quantity` was measured, with that size times
    `initial.ratio`, whose prior is the scatter of that one measurement: it is the start, and not a datum besides, or it
    would count twice. Measurements before that day, and quantities that the model does not predict, are left out.
    `model_error`: by how much the model's error of the logarithm of its size changes in 42 days (`QuantityObservation`,
    `walk_std`); 0 for a model that is right. `noise`: quantity to the deviation of its logarithm, in place of that of
    `QuantityObservation` and of what the patient's `reading_error` adds to it.

    Raises `InputError` where the size was measured fewer than two times, or is zero at the start, and for a
    `model_error` that is negative.
    """
    size = model.size_quantity
    predicted = jax.eval_shape(lambda: model.quantities(model.initial_state(jnp.ones(()))))
    if size not in patient.measurements or patient.measurements[size][0].size < 2:
        raise InputError(
            f"{type(model).__name__} needs {size} on at least two days; {patient.patient_id} has {patient}. "
            f"It observes {', '.join(predicted)}"
        )
    days, sizes = patient.measurements[size]
    if not sizes[0] > 0:
        raise InputError(f"{size} is 0 on day {days[0]:g}: there is no tumour to start from; begin with a later day")
    if patient.sides[size][0]:
        entry = patient.entries(size)[0]
        raise InputError(f"{size} is {entry} on day {days[0]:g}: that is no size to start from; begin with a later day")
    used = [name for name in patient.measurements if name in predicted]
    if others := [name for name in patient.measurements if name not in predicted]:
        log.info("  left out, as the model does not predict it: %s", ", ".join(others))
    walk = {size: model_error}
    observations = {
        name: _observation(name, noise or {}, patient.reading_error.get(name, 0.0), walk.get(name, 0.0))
        for name in used
    }
    data = [
        Datum(day, name, observations[name].transform(value), side=side)
        for name in used
        for day, value, side in zip(*patient.measurements[name], patient.sides[name], strict=True)
        if day > days[0] or (day == days[0] and name != size)
    ]
    prior, forecast_prior = applicable(prior, patient.regimen, observations)
    log.info("  %d measurements, %d unknowns", len(data), len(prior.names))
    initial = InitialSize(sizes[0])
    return InverseProblem(
        model,
        patient.regimen,
        initial,
        observations,
        data,
        prior,
        forecast_prior=forecast_prior,
        solver=solver,
        start=float(days[0]),
    )


def _observation(name: str, noise: Mapping[str, float], reading_error: float, walk: float) -> QuantityObservation:
    level = noise[name] if name in noise else jnp.hypot(QuantityObservation(name).noise_std, reading_error)
    return QuantityObservation(name, level, walk_std=walk)
