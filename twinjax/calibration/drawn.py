"""Virtual patients drawn about those of conf/patient, from a prior. All of it is synthetic."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from twinjax.calibration.course import course_problem
from twinjax.calibration.prior import Prior
from twinjax.calibration.tumor import Tumor
from twinjax.core.errors import InputError, SolverError
from twinjax.model import AbstractLumpedModel, InitialSize
from twinjax.patient import VirtualCourse, VirtualOrgan
from twinjax.patient.virtual import VirtualPatient

# Width, in that of the prior, from which parameters of a spatial patient are drawn.
SPATIAL_SPREAD = 0.3
# Draws whose tumour leaves this range of its size at the start, within the schedule, are no patients: drawn again.
SMALLEST_RATIO, LARGEST_RATIO = 1e-4, 1e4
# Parameters of the priors that are the size at the start, relative to its measurement.
RATIOS = ("initial_size", "initial_ratio")
# What can be drawn.
KINDS = (VirtualCourse, VirtualOrgan, VirtualPatient)


def drawn_patient(
    patient: object, prior: Prior, seed: int, patient_id: str
) -> VirtualCourse | VirtualOrgan | VirtualPatient:
    """A virtual patient like `patient` (of a kind returned), with a truth and noise of its own.

    Equal seeds give equal patients. A model without space is drawn from the whole prior (`drawn_course`), a virtual
    organ about its own truth (`drawn_organ`); a `VirtualPatient` keeps its truth and has foci, texture and noise of its
    own.

    Raises `InputError` for a patient who is not virtual.
    """
    if isinstance(patient, VirtualCourse):
        found, _ = drawn_course(patient, prior, seed)
        # Their truth is known only beside what was measured at the start.
        truth = {name: value for name, value in found.truth.items() if name not in RATIOS}
        return replace(found, patient_id=patient_id, truth=truth)
    if isinstance(patient, VirtualOrgan):
        return replace(drawn_organ(patient, prior, seed), patient_id=patient_id)
    if isinstance(patient, VirtualPatient):
        return replace(patient, patient_id=patient_id, seed=seed)
    raise InputError(f"a {type(patient).__name__} cannot be drawn; choose patient=virtual_...")


def drawn_organ(described: VirtualOrgan, prior: Prior, seed: int) -> VirtualOrgan:
    """The virtual organ with parameters, outline and noise of its own.

    Each parameter that lives in the model or the treatment is drawn with `SPATIAL_SPREAD` of its prior's width about
    the patient's own truth, as the tumour must fit the organ.
    """
    whole = Tumor(described.model, described.regimen, InitialSize(1.0), {})
    truth, rng = dict(described.truth), np.random.default_rng(seed)
    for parameter in prior.parameters:
        lives = all(path.split(".")[0] in ("model", "regimen") for path in parameter.where)
        if parameter.name not in truth or not lives:
            continue
        # Drawn in the whitened coordinate, about that of the config's own truth.
        grid = np.linspace(-4, 4, 4001)
        values = np.asarray(jax.vmap(parameter.from_standard_normal)(jnp.asarray(grid)))
        center = float(np.interp(described.truth[parameter.name], values, grid))
        value = float(np.interp(center + SPATIAL_SPREAD * rng.normal(), grid, values))
        truth[parameter.name] = value
        for path in parameter.where:
            count = len(whole.leaves_at(path))
            set_all = [jnp.asarray(value, float)] * count
            whole = eqx.tree_at(lambda t, path=path: t.leaves_at(path), whole, set_all) if count else whole
    return replace(described, model=whole.model, regimen=whole.regimen, truth=truth, seed=seed + 1)


def drawn_course(described: VirtualCourse, prior: Prior, seed: int) -> tuple[VirtualCourse, Prior]:
    """The patient with parameters, size and noise of its own, and the prior that it was drawn from.

    Raises `SolverError` where a hundred draws in a row give no tumour that can be measured throughout the schedule.
    """
    model = described.model
    assert isinstance(model, AbstractLumpedModel)
    whole = Tumor(model, described.regimen, InitialSize(described.size), {})
    # What this patient does not have (a drug that is not given) is no parameter of it.
    known = course_problem(described.generate(), model, prior).prior
    for attempt in range(100):
        key = jax.random.fold_in(jax.random.key(seed), attempt)
        z = jax.random.normal(key, (len(known.names),))
        tumor = whole.with_parameters(known, z)
        truth = {name: float(value) for name, value in known.values(z).items()}
        size = float(tumor.initial(None))
        patient = replace(described, model=tumor.model, regimen=tumor.regimen, size=size, seed=seed + 1, truth=truth)
        try:
            sizes = patient.true_quantities(patient.visit_days)[model.size_quantity]
        except SolverError:
            continue
        if SMALLEST_RATIO * size < sizes.min() and sizes.max() < LARGEST_RATIO * size:
            return patient, known
    raise SolverError("no draw of the prior gives a patient of a size that can be measured; narrow the prior")
