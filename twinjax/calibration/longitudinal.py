"""The inverse problem of a patient with several visits: segmentations and ADC of every one."""

import logging
from collections.abc import Sequence

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from twinjax.calibration.prior import Prior
from twinjax.calibration.problem import Datum, InverseProblem
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging import labels
from twinjax.imaging.features import cellularity_from_adc, local_scatter
from twinjax.model import AbstractSpatialModel, ContourProfile, ProliferatingNecrotic
from twinjax.observation import (
    AbstractObservation,
    CellDensityObservation,
    NecrosisObservation,
    PETObservation,
    QuantityObservation,
    SegmentationObservation,
    ViableDensityObservation,
    ViablePETObservation,
)
from twinjax.patient import PatientData, Visit
from twinjax.treatment import Regimen

# The slices of clinical diffusion images are 3 to 5 mm thick.
PARTIAL_VOLUME_MM = 3.0
# White noise of images that are too small to show it (density; the first peak of PET): our own choice.
CELL_DENSITY_NOISE, PET_NOISE, LEAST_SHARE = 0.05, 0.1, 0.4
# Of the places that a parameter may live in, those that a patient may lack.
PLACED = ("regimen", "observation")

log = logging.getLogger("twinjax")


def longitudinal_problem(
    patient: PatientData,
    model: AbstractSpatialModel,
    prior: Prior,
    *,
    margin_mm: float = 16.0,
    correlation_length_mm: float = 10.0,
    cell_density_noise: float | None = None,
    cell_density_discrepancy: float = 0.05,
    pet_noise: float | None = None,
    pet_discrepancy: float = 0.1,
    segmentation_noise: float = 0.3,
    solver: diffrax.AbstractSolver | None = None,
    max_step: float = 1.0,
) -> InverseProblem:
    """All visits of `patient` as data for `model`; give `patient.until(day)` to hold visits out.

    The initial condition is drawn through the baseline's contours (`ContourProfile`), so that the baseline's
    segmentation is not used again as data; its ADC and its amino-acid PET are. Later visits give core, whole tumour,
    ADC, PET and, where the model has one (`ProliferatingNecrotic`), the necrotic core, and every visit its laboratory
    values, as far as the model predicts them. Parameters of the prior that this patient cannot have (a drug that was
    not given, ADC that was not measured) are left out. Of a model that is `local` only a box of `margin_mm` around all
    visible tumour is solved; `InverseProblem.edge_density` tells whether that was enough.

    `correlation_length_mm` is the edge of the cube within which voxels err together; for the noise levels see
    docs/likelihood.md. The white noise of ADC and PET is what their voxels scatter (`local_scatter`), unless given.

    Raises `InputError` for fewer than two visits, or an empty core at baseline.
    """
    if len(patient.visits) < 2:
        raise InputError(
            "calibration over time needs at least two visits; for one scan choose the single-scan calibration"
        )
    domain, baseline = model.domain, patient.visits[0]
    whole = [_region(visit, "whole_tumor", domain) for visit in patient.visits]
    core = [_region(visit, "core", domain) for visit in patient.visits]
    seen = np.any([fraction >= 0.5 for fraction in whole], axis=0)
    box = domain.box_around(seen, margin_mm) if model.local else None
    initial = ContourProfile.from_masks(core[0] >= 0.5, whole[0] >= 0.5, domain.spacing)
    necrotic = isinstance(model, ProliferatingNecrotic)
    density = ViableDensityObservation if necrotic else CellDensityObservation
    uptake = ViablePETObservation if necrotic else PETObservation
    correlated = {"correlation_length_mm": correlation_length_mm}
    segmented = {"noise_std": segmentation_noise} | correlated
    densities, uptakes = _density_data(patient, domain), _pet_data(patient, domain)
    if cell_density_noise is None:
        cell_density_noise = white_noise(densities, domain, CELL_DENSITY_NOISE)
    if pet_noise is None:
        pet_noise = white_noise(uptakes, domain, PET_NOISE)
    observations: dict[str, AbstractObservation] = {
        "cell_density": density(noise_std=cell_density_noise, discrepancy_std=cell_density_discrepancy, **correlated),
        "core": SegmentationObservation(domain, 0.6, **segmented),
        "whole_tumor": SegmentationObservation(domain, 0.3, **segmented),
        "necrosis": NecrosisObservation(domain, **segmented),
        "pet": uptake(noise_std=pet_noise, discrepancy_std=pet_discrepancy, **correlated),
    }
    reach = max(1, round(margin_mm / 2 / min(domain.spacing)))
    near = ndimage.binary_dilation(seen, iterations=reach) & np.asarray(domain.mask)
    index = np.flatnonzero(near)
    data = []
    for visit, core_fraction, whole_fraction in zip(patient.visits[1:], core[1:], whole[1:], strict=True):
        data.append(Datum(visit.day, "core", core_fraction.ravel()[index], index))
        data.append(Datum(visit.day, "whole_tumor", whole_fraction.ravel()[index], index))
        if necrotic:
            dead = domain.from_grid((visit.scan.segmentation == labels.NECROTIC).astype(np.float32), visit.scan.affine)
            data.append(Datum(visit.day, "necrosis", dead.ravel()[index], index))
    data += densities + uptakes
    laboratory, measured = _laboratory_data(patient, model)
    observations, data = observations | laboratory, data + measured
    used = {datum.observation for datum in data}
    observations = {name: observation for name, observation in observations.items() if name in used}
    prior, forecast_prior = applicable(prior, patient.regimen, observations)
    count = sum(datum.values.size for datum in data)
    problem = InverseProblem(
        model,
        patient.regimen,
        initial,
        observations,
        data,
        prior,
        forecast_prior=forecast_prior,
        solver=solver,
        start=baseline.day,
        max_step=max_step,
        box=box,
    )
    log.info("  %d data on days %s, %d unknowns", count, patient.days.tolist(), problem.dimension)
    return problem


def _laboratory_data(patient: PatientData, model: AbstractSpatialModel):
    """Observations and data of the laboratory values (`Visit.measurements`) that the model predicts."""
    course = patient.laboratory
    if course is None:
        return {}, []
    predicted = jax.eval_shape(lambda: model.quantities(model.initial_state(jnp.zeros(model.domain.shape))))
    if others := sorted(set(course.measurements) - set(predicted)):
        log.info("  left out, as the model does not predict it: %s", ", ".join(others))
    observations = {name: QuantityObservation(name) for name in sorted(set(course.measurements) & set(predicted))}
    data = [
        Datum(day, name, observation.transform(value), side=side)
        for name, observation in observations.items()
        for day, value, side in zip(*course.measurements[name], course.sides[name], strict=True)
    ]
    return observations, data


def applicable(prior: Prior, regimen: Regimen, observations) -> tuple[Prior, Prior]:
    """The prior of what this patient can tell, and that of forecasts.

    The first leaves out the parameters of treatments and observations that are not there. The second has them in the
    same order, in all treatments that share them, and after them those of the treatments that are not there yet.
    """
    there = {("regimen", treatment.name) for treatment in regimen.treatments}
    there |= {("observation", name) for name in observations}
    known, later, unseen, dropped = {}, {}, {}, []
    for parameter in prior.parameters:
        rest = parameter.entry
        paths = [path for path in parameter.where if _kind(path) != "observation" or _place(path) in there]
        now = [path for path in paths if _kind(path) not in PLACED or _place(path) in there]
        if now:
            known[parameter.name], later[parameter.name] = rest | {"where": now}, rest | {"where": paths}
        else:
            dropped.append(parameter.name)
        if paths and not now:
            unseen[parameter.name] = rest | {"where": paths}
    if dropped:
        log.info("  left out, for want of that treatment or measurement: %s", ", ".join(dropped))
    return Prior(known), Prior(later | unseen)


def _kind(path: str) -> str:
    return path.partition(".")[0]


def _place(path: str) -> tuple[str, str]:
    """`("regimen", "temozolomide")` of `regimen.temozolomide.sensitivity`."""
    kind, name, *_ = path.split(".")
    return kind, name


def _region(visit: Visit, name: str, domain) -> np.ndarray:
    """Fraction of each voxel of the domain that is in a region of the visit's segmentation."""
    return domain.from_grid(getattr(visit.scan, name).astype(np.float32), visit.scan.affine)


def _interior(visit: Visit, region: str) -> np.ndarray:
    """(X, Y, Z) bool: where ADC was measured (it is not 0) in a region without its outer `PARTIAL_VOLUME_MM`."""
    depth = ndimage.distance_transform_edt(getattr(visit.scan, region), sampling=visit.scan.spacing)
    return (np.asarray(depth) > PARTIAL_VOLUME_MM) & (visit.scan.images["ADC"] > 0)


def white_noise(data: Sequence[Datum], domain: Domain, otherwise: float) -> float:
    """The scatter of single voxels of `domain`, over all the data; `otherwise` where they are too few to tell.

    Never below `LEAST_SHARE` of that: neighbours share the noise of an image that was resampled or smoothed, which then
    hides.
    """
    found = []
    for datum in data:
        image, region = np.zeros(domain.shape), np.zeros(domain.shape, bool)
        image.flat[np.asarray(datum.index)] = np.asarray(datum.values)
        region.flat[np.asarray(datum.index)] = True
        found.append(local_scatter(image, region))
    known = [level for level in found if np.isfinite(level) and level > 0]
    return max(float(np.sqrt(np.mean(np.square(known)))), LEAST_SHARE * otherwise) if known else otherwise


def densest_adc(visits: Sequence[Visit]) -> float | None:
    """ADC (mm²/s) of the densest packing in the cores, their outer `PARTIAL_VOLUME_MM` left out; None without ADC.

    It is one for all visits, or growth would be divided out. Unlike the default of `cellularity_from_adc`, which takes
    the lower bound so that no density is clipped, single low voxels are not believed: the higher of the two bounds.
    """
    pooled = [visit.scan.images["ADC"][_interior(visit, "core")] for visit in visits if "ADC" in visit.scan.images]
    values = np.concatenate(pooled) if pooled else np.empty(0)
    return float(max(values.min(), values.mean() - 1.96 * values.std())) if values.size else None


def measured_density(visit: Visit, domain: Domain, adc_min: float, *, region: str = "whole_tumor"):
    """Cell density from ADC inside a region of the visit's segmentation, averaged over the domain's voxels.

    The outer `PARTIAL_VOLUME_MM` of the region are left out: a voxel that straddles the tumour's edge holds normal
    tissue, whose low ADC would pass for many tumour cells.

    **Returns** `(index, values)`, flattened voxel index of the domain and density; None where there is nothing.
    """
    if "ADC" not in visit.scan.images or not (mask := _interior(visit, region)).any():
        return None
    density = cellularity_from_adc(visit.scan.images["ADC"], mask, adc_min=adc_min)
    weight = domain.from_grid(mask.astype(np.float32), visit.scan.affine)
    total = domain.from_grid((density * mask).astype(np.float32), visit.scan.affine)
    index = np.flatnonzero((weight >= 0.5) & np.asarray(domain.mask))
    return (index, (total.ravel()[index] / weight.ravel()[index])) if index.size else None


def _density_data(patient: PatientData, domain: Domain) -> list[Datum]:
    """Cell density of every visit; of the baseline inside the core only, as its oedema shaped the initial front."""
    adc_min = densest_adc(patient.visits)
    if adc_min is None:
        return []
    data = []
    for visit in patient.visits:
        region = "core" if visit is patient.visits[0] else "whole_tumor"
        measured = measured_density(visit, domain, adc_min, region=region)
        if measured is not None:
            data.append(Datum(visit.day, "cell_density", measured[1], measured[0]))
    return data


def fet_uptake(visit: Visit, domain: Domain, region: str):
    """`(index, uptake)`: flattened voxel index of the domain and FET uptake inside a region of the segmentation."""
    inside = np.flatnonzero((_region(visit, region, domain) >= 0.5) & np.asarray(domain.mask))
    return inside, domain.from_grid(visit.scan.images["FET"], visit.scan.affine).ravel()[inside]


def peak_uptake(visit: Visit, domain: Domain) -> float:
    """The 99th percentile of FET uptake in the whole tumour; `InputError` where it is not positive."""
    _, uptake = fet_uptake(visit, domain, "whole_tumor")
    top = float(np.percentile(uptake, 99)) if uptake.size else 0.0
    if top <= 0:
        raise InputError("the PET image is not positive inside the tumour; leave it out or mend it")
    return top


def _pet_data(patient: PatientData, domain: Domain) -> list[Datum]:
    """FET of every visit that has it, of the baseline inside the core only, as for ADC.

    The peak of the first is the unit for all, or growth would be divided out: the images of one patient have to be
    on one scale (SUV, or relative to normal brain).
    """
    scanned = [visit for visit in patient.visits if "FET" in visit.scan.images]
    data = []
    for visit in scanned:
        index, uptake = fet_uptake(visit, domain, "core" if visit is patient.visits[0] else "whole_tumor")
        if index.size:
            data.append(Datum(visit.day, "pet", uptake / peak_uptake(scanned[0], domain), index))
    return data
