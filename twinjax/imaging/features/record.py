"""All measures of one scan: as a flat row for tables, as a nested record for JSON."""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.imaging.features.cellularity import cellularity_from_adc
from twinjax.imaging.features.measured import Measured
from twinjax.imaging.features.recist import find_lesions, recist_sum
from twinjax.imaging.features.shape import measure_volume, shape_measures
from twinjax.imaging.features.size import centre_of_mass_mm, rano_measures, volume_mm3
from twinjax.imaging.features.uptake import tumor_to_background
from twinjax.imaging.scan import REGIONS, Scan

logger = logging.getLogger("twinjax")


def tumor_features(scan: Scan) -> dict[str, float]:
    """Measures of the segmentation as one flat row; NaN without a tumour.

    Volumes (mm³) of core and whole tumour with their standard deviations; of the core, or of the whole without a core:
    diameters and centre (mm, patient space), and where there is a tumour the bidimensional product, the RECIST sum and
    the measures of shape. Without SimpleITK, and on a sheared grid, standard deviations of
    volumes and measures of shape are NaN.
    """
    region = scan.core if scan.core.any() else scan.whole_tumor
    row = {}
    for name in REGIONS:
        volume = _volume(getattr(scan, name), scan.affine)
        row |= {f"{name}_volume_mm3": volume.value, f"{name}_volume_std_mm3": volume.standard_deviation}
    if not region.any():
        keys = ("longest_diameter_mm", "perpendicular_diameter_mm", *(f"centre_{axis}_mm" for axis in "xyz"))
        return row | dict.fromkeys(keys, np.nan)
    rano, recist = rano_measures(region, scan.affine), recist_sum(find_lesions(region, scan.affine))
    centre = centre_of_mass_mm(region, scan.affine)
    return row | {
        "longest_diameter_mm": rano["longest_diameter"].value,
        "perpendicular_diameter_mm": rano["perpendicular_diameter"].value,
        "diameter_std_mm": rano["longest_diameter"].standard_deviation,
        **{f"centre_{axis}_mm": float(x) for axis, x in zip("xyz", centre, strict=True)},
        "bidimensional_product_mm2": rano["bidimensional_product"].value,
        "bidimensional_product_std_mm2": rano["bidimensional_product"].standard_deviation,
        "recist_sum_mm": recist.value,
        "recist_sum_std_mm": recist.standard_deviation,
        **{_SHAPE_KEYS[name]: measure.value for name, measure in _shape(region, scan.affine).items()},
    }


def feature_record(scan: Scan) -> dict[str, Any]:
    """Every measure of a scan, nested and ready for JSON; a measure is `{"value", "standard_deviation", "unit"}`.

    `"core"` and `"whole_tumor"` hold volume, diameters, RECIST sum, measures of shape and the list of lesions (largest
    first); an empty region its volume alone. `"ADC"` holds the mean cell density of the whole tumour and `"FET"` the
    ratios to the background, the brain outside the whole tumour, where the scan has these images and a tumour. A
    standard deviation that is not known is None.
    """
    record: dict[str, Any] = {}
    for name in REGIONS:
        region = getattr(scan, name)
        measures = {"volume": _volume(region, scan.affine)}
        if region.any():
            lesions = find_lesions(region, scan.affine)
            measures |= rano_measures(region, scan.affine) | {"recist_sum": recist_sum(lesions)}
            measures |= _shape(region, scan.affine)
        record[name] = {key: measure.record() for key, measure in measures.items()}
        if region.any():
            record[name]["centre_mm"] = centre_of_mass_mm(region, scan.affine).tolist()
            record[name]["lesions"] = [{**asdict(lesion), "centre_mm": list(lesion.centre_mm)} for lesion in lesions]
    whole = scan.whole_tumor
    if "ADC" in scan.images and (scan.images["ADC"][whole] > 0).any():
        density = cellularity_from_adc(scan.images["ADC"], whole)[whole]
        record["ADC"] = {"mean_cell_density": Measured(float(density.mean())).record()}
    if "FET" in scan.images and scan.brain_mask is not None and whole.any():
        ratios = tumor_to_background(scan.images["FET"], whole, scan.brain_mask & ~whole, scan.affine)
        record["FET"] = {key: measure.record() for key, measure in ratios.items()}
    return record


def write_features(path: str | Path, scans: Mapping[float, Scan]) -> None:
    """Write `features.json`: one `feature_record` per visit with its `"day"`, by day; whole or not at all.

    `scans` maps the day since baseline to the segmented scan.
    """
    visits = [{"day": float(day), **feature_record(scans[day])} for day in sorted(scans)]
    partial = Path(f"{path}.partial")
    partial.write_text(json.dumps({"visits": visits}, indent=2, allow_nan=False, ensure_ascii=False), encoding="utf-8")
    os.replace(partial, path)


_SHAPE_KEYS = {
    "surface_area": "surface_area_mm2",
    **{name: name for name in ("sphericity", "compactness", "elongation", "flatness")},
}


def _volume(region: np.ndarray, affine: np.ndarray) -> Measured:
    try:
        return measure_volume(region, affine)
    except (InputError, MissingDependencyError) as error:
        logger.info("no standard deviation of the volume: %s", error)
        return Measured(volume_mm3(region, affine), unit="mm³")


def _shape(region: np.ndarray, affine: np.ndarray) -> dict[str, Measured]:
    try:
        return shape_measures(region, affine)
    except (InputError, MissingDependencyError) as error:
        logger.info("no measures of shape: %s", error)
        return {name: Measured(np.nan) for name in _SHAPE_KEYS}
