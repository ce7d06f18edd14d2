"""What scans say of a tumour, voxel by voxel: regions, cell density from ADC, uptake from PET, and their noise."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from twinjax.calibration.datum import Datum
from twinjax.core.errors import InputError
from twinjax.domain import WHOLE, Domain, Sampling
from twinjax.imaging import labels
from twinjax.imaging.features import cellularity_from_adc, local_scatter
from twinjax.patient import PatientData, Visit

# The slices of clinical diffusion images are 3 to 5 mm thick.
PARTIAL_VOLUME_MM = 3.0
# White noise of images that are too small to show it (density; the first peak of PET), and the share of it that an
# image has at least: our own choice.
CELL_DENSITY_NOISE, PET_NOISE, LEAST_SHARE = 0.05, 0.1, 0.4


def region_fraction(visit: Visit, name: str, domain) -> np.ndarray:
    """Fraction of each voxel of the domain that is in a region of the visit's segmentation (`Scan`), or is necrosis."""
    segmented = visit.scan.segmentation == labels.NECROTIC if name == "necrosis" else getattr(visit.scan, name)
    return domain.from_grid(segmented.astype(np.float32), visit.scan.affine)


def voxels_near(region: np.ndarray, reach: int, seen: Domain, sampling: Sampling | None) -> np.ndarray:
    """Flattened index of the voxels of `seen` within `reach` voxels of a region (bool, on the grid of the model)."""
    near = np.asarray(ndimage.binary_dilation(region, iterations=reach), float)
    near = near if sampling is None else np.asarray(sampling(jnp.asarray(near)))
    return np.flatnonzero((near >= 0.5) & np.asarray(seen.mask))


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


def measured_density(
    visit: Visit, domain: Domain, adc_min: float, *, region: str = "whole_tumor", share: float = WHOLE
):
    """Cell density from ADC inside a region of the visit's segmentation, averaged over the domain's voxels.

    A voxel that straddles the tumour's edge holds normal tissue, whose low ADC would pass for many tumour cells: at
    least `share` of each voxel of the domain lies `PARTIAL_VOLUME_MM` or more inside the region, and all of it in the
    region, as the part that does would be its denser one.

    **Returns** `(index, values)`, flattened voxel index of the domain and density; None where there is nothing.
    """
    if "ADC" not in visit.scan.images or not (interior := _interior(visit, region)).any():
        return None
    adc, affine = visit.scan.images["ADC"], visit.scan.affine
    mask = getattr(visit.scan, region) & (adc > 0)
    density = domain.from_grid(cellularity_from_adc(adc, mask, adc_min=adc_min), affine)
    deep, inside = (domain.from_grid(part.astype(np.float32), affine) for part in (interior, mask))
    index = np.flatnonzero((deep >= share) & (inside >= WHOLE) & np.asarray(domain.mask))
    return (index, density.ravel()[index]) if index.size else None


def density_data(patient: PatientData, domain: Domain, sampling: Sampling | None) -> list[Datum]:
    """Cell density of every visit; of the baseline inside the core only, as its oedema shaped the initial front.

    Where a visit has no voxel that lies wholly inside the rim (`measured_density`), half of each has to do so in all.
    """
    adc_min = densest_adc(patient.visits)
    if adc_min is None:
        return []

    def measured(share: float) -> list[Datum]:
        data = []
        for visit in patient.visits:
            region = "core" if visit is patient.visits[0] else "whole_tumor"
            found = measured_density(visit, domain, adc_min, region=region, share=share)
            if found is not None:
                data.append(Datum(visit.day, "cell_density", found[1], found[0], sampling=sampling))
        return data

    strictly, loosely = measured(WHOLE), measured(0.5)
    return strictly if len(strictly) == len(loosely) else loosely


def fet_uptake(visit: Visit, domain: Domain, region: str):
    """`(index, uptake)`: flattened voxel index of the domain and FET uptake inside a region of the segmentation."""
    inside = np.flatnonzero((region_fraction(visit, region, domain) >= 0.5) & np.asarray(domain.mask))
    return inside, domain.from_grid(visit.scan.images["FET"], visit.scan.affine).ravel()[inside]


def peak_uptake(visit: Visit, domain: Domain) -> float:
    """The 99th percentile of FET uptake in the whole tumour; `InputError` where it is not positive."""
    _, uptake = fet_uptake(visit, domain, "whole_tumor")
    top = float(np.percentile(uptake, 99)) if uptake.size else 0.0
    if top <= 0:
        raise InputError("the PET image is not positive inside the tumour; leave it out or mend it")
    return top


def uptake_data(patient: PatientData, domain: Domain, sampling: Sampling | None) -> list[Datum]:
    """FET of every visit that has it, of the baseline inside the core only, as for ADC.

    The peak of the first is the unit for all, or growth would be divided out: the images of one patient have to be
    on one scale (SUV, or relative to normal brain).
    """
    scanned = [visit for visit in patient.visits if "FET" in visit.scan.images]
    data = []
    for visit in scanned:
        index, uptake = fet_uptake(visit, domain, "core" if visit is patient.visits[0] else "whole_tumor")
        if index.size:
            data.append(Datum(visit.day, "pet", uptake / peak_uptake(scanned[0], domain), index, sampling=sampling))
    return data
