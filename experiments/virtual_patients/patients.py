"""Virtual patients drawn about those of conf/patient, and what a model that is fitted to them may have wrong."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from twinjax.calibration import Tumor, course_problem
from twinjax.core.errors import InputError, SolverError
from twinjax.domain import Domain
from twinjax.imaging.scan import Scan
from twinjax.model import InitialSize
from twinjax.model.growth import GompertzGrowth, LogisticGrowth
from twinjax.patient import PatientData, VirtualCourse, Visit
from twinjax.patient.virtual_organ import VirtualOrgan

# Width, in that of the prior, from which parameters of a spatial patient are drawn.
SPATIAL_SPREAD = 0.3
# Draws whose tumour leaves this range of its size at the start, within the schedule, are no patients: drawn again.
SMALLEST_RATIO, LARGEST_RATIO = 1e-4, 1e4
# Parameters of the priors that are the size at the start, relative to its measurement.
RATIOS = ("initial_size", "initial_ratio")
# Of a misfit: smooth error of where tissue lies, and of where a later scan lies, in mm (deviation along each axis).
TISSUE_ERROR_MM, REGISTRATION_ERROR_MM, GRAIN_MM = 1.5, 0.7, 20.0


def organ_drawn(described, prior, number: int):
    """The virtual organ with parameters, outline and noise of its own."""
    whole = Tumor(described.model, described.regimen, InitialSize(1.0), {})
    truth, rng = dict(described.truth), np.random.default_rng(number)
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
    return replace(described, model=whole.model, regimen=whole.regimen, truth=truth, seed=number + 1)


def true_parameters(described: VirtualCourse, patient) -> dict[str, float]:
    """By name; of the size at the start the ratio to what was measured, which is what a fit knows."""
    measured = patient.measurements[described.model.size_quantity][1][0]
    true = described.true_quantities(described.visit_days[:1])[described.model.size_quantity][0]
    return {n: true / measured if n in RATIOS else value for n, value in described.truth.items()}


def drawn(described: VirtualCourse, prior, number: int):
    """The patient with parameters, size and noise of its own, and the prior that it was drawn from."""
    start = InitialSize(described.size)
    whole = Tumor(described.model, described.regimen, start, {})
    # What this patient does not have (a drug that is not given) is no parameter of it.
    known = course_problem(described.generate(), described.model, prior).prior
    for attempt in range(100):
        key = jax.random.fold_in(jax.random.key(number), attempt)
        z = jax.random.normal(key, (len(known.names),))
        tumor = whole.with_parameters(known, z)
        truth = {name: float(value) for name, value in known.values(z).items()}
        size = float(tumor.initial(None))
        patient = replace(described, model=tumor.model, regimen=tumor.regimen, size=size, seed=number + 1, truth=truth)
        try:
            sizes = patient.true_quantities(patient.visit_days)[described.model.size_quantity]
        except SolverError:
            continue
        if SMALLEST_RATIO * size < sizes.min() and sizes.max() < LARGEST_RATIO * size:
            return patient, known
    raise SolverError("no draw of the prior gives a patient of a size that can be measured; narrow the prior")


def of_another_law(described: VirtualCourse | VirtualOrgan):
    """The patient with the growth law that its model does not have, logistic or Gompertz.

    The two grow alike at the size on day 0 (half the carrying capacity, in space), and more and more apart after it.
    """
    model = described.model
    if not hasattr(model, "growth"):
        raise InputError(f"{type(model).__name__} has one growth law only; leave --misfit out")
    other = GompertzGrowth() if isinstance(model.growth, LogisticGrowth) else LogisticGrowth()
    if isinstance(described, VirtualCourse):
        size, capacity = described.size, model.carrying_capacity_mm3
    else:
        size, capacity = 0.5 * model.carrying_capacity, model.carrying_capacity
    ratio = model.growth.growth(size, 1.0, capacity) / other.growth(size, 1.0, capacity)
    changed = eqx.tree_at(lambda m: (m.growth, m.proliferation_rate), model, (other, model.proliferation_rate * ratio))
    # What a rate of another law is has no true value in the law that is fitted.
    return replace(described, model=changed, truth={})


def misread(patient: PatientData, number: int) -> PatientData:
    """The patient with tissue maps that are warped and later scans that lie a little off."""
    rng = np.random.default_rng([number, 77])
    domain = patient.brain_mask
    warp = [
        ndimage.gaussian_filter(rng.standard_normal(domain.shape), [GRAIN_MM / h for h in domain.spacing])
        for _ in domain.shape
    ]
    place = np.indices(domain.shape) + np.stack(
        [TISSUE_ERROR_MM * field / field.std() / h for field, h in zip(warp, domain.spacing, strict=True)]
    )
    maps = {
        name: ndimage.map_coordinates(np.asarray(array), place, order=1, mode="nearest")
        for name, array in domain.maps.items()
    }
    grid = Domain(domain.mask, domain.spacing, maps=maps, affine=domain.affine)
    visits = [patient.visits[0]] + [_moved(visit, domain, rng) for visit in patient.visits[1:]]
    return PatientData.from_visits(patient.patient_id, visits, patient.regimen, grid, patient.truth)


def _moved(visit: Visit, domain: Domain, rng) -> Visit:
    scan, shift = visit.scan, REGISTRATION_ERROR_MM * rng.standard_normal(3) / np.asarray(domain.spacing)
    images = {name: ndimage.shift(image, shift, order=1, mode="nearest") for name, image in scan.images.items()}
    segmentation = ndimage.shift(scan.segmentation, shift, order=0, mode="nearest")
    return Visit(visit.day, Scan(scan.affine, images, segmentation, brain_mask=scan.brain_mask), visit.measurements)
