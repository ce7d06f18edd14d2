"""What a virtual patient's true parameters are, and what a model that is fitted to it may have wrong."""

from dataclasses import replace

import equinox as eqx
import numpy as np
from scipy import ndimage

from twinjax.calibration.drawn import RATIOS
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.scan import Scan
from twinjax.model.growth import GompertzGrowth, LogisticGrowth
from twinjax.patient import PatientData, VirtualCourse, Visit
from twinjax.patient.virtual_organ import VirtualOrgan

# Of a misfit: smooth error of where tissue lies, and of where a later scan lies, in mm (deviation along each axis).
TISSUE_ERROR_MM, REGISTRATION_ERROR_MM, GRAIN_MM = 1.5, 0.7, 20.0


def true_parameters(described: VirtualCourse, patient) -> dict[str, float]:
    """By name; of the size at the start the ratio to what was measured, which is what a fit knows."""
    measured = patient.measurements[described.model.size_quantity][1][0]
    true = described.true_quantities(described.visit_days[:1])[described.model.size_quantity][0]
    return {n: true / measured if n in RATIOS else value for n, value in described.truth.items()}


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
