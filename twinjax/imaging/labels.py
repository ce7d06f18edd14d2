"""Label conventions of tumour segmentations, as data, mapped in one place.

Inside twinjax every segmentation carries the BraTS 2023 convention (`NECROTIC` ... `CAVITY`);
`to_internal` brings the labels of the public data sets there, `from_regions` regions that overlap.
"""

from collections.abc import Mapping

import numpy as np

from twinjax.core.errors import InputError

BACKGROUND, NECROTIC, OEDEMA, ENHANCING, CAVITY = 0, 1, 2, 3, 4
NAMES = {NECROTIC: "necrotic core", OEDEMA: "oedema", ENHANCING: "enhancing tumour", CAVITY: "resection cavity"}
CORE = (NECROTIC, ENHANCING)
WHOLE_TUMOR = (NECROTIC, OEDEMA, ENHANCING)
# The overlapping regions that BraTS scores, and the labels in each.
REGIONS = {"core": CORE, "whole_tumor": WHOLE_TUMOR, "enhancing": (ENHANCING,)}

CONVENTIONS: dict[str, dict[int, int]] = {
    # BraTS 2023 and later, PREDICT-GBM, MU-Glioma-Post, UCSF-ALPTDG
    "brats2023": {0: BACKGROUND, 1: NECROTIC, 2: OEDEMA, 3: ENHANCING, 4: CAVITY},
    # BraTS 2018 to 2022, UPENN-GBM: enhancing is 4
    "brats2018": {0: BACKGROUND, 1: NECROTIC, 2: OEDEMA, 4: ENHANCING},
    # GliODIL and SBTC folders, by the README of GliODIL; in two of its cases label 1 is indeed the outer rim, with
    # twice the amino-acid uptake of label 4.
    "gliodil": {0: BACKGROUND, 1: ENHANCING, 3: OEDEMA, 4: NECROTIC},
    # Medical Segmentation Decathlon Task01: 1 oedema, 2 non-enhancing, 3 enhancing
    "msd": {0: BACKGROUND, 1: OEDEMA, 2: NECROTIC, 3: ENHANCING},
}


def to_internal(labels: np.ndarray, convention: str, source: str = "segmentation") -> np.ndarray:
    """Map a label array of a named convention to the internal one (int8, same shape).

    Raises `InputError` for an unknown convention or a label that the convention does not have.
    """
    if convention not in CONVENTIONS:
        raise InputError(f"label convention '{convention}' is unknown; choose one of {', '.join(CONVENTIONS)}")
    table = CONVENTIONS[convention]
    found = np.unique(labels)
    unknown = [value for value in found.tolist() if value not in table]
    if unknown:
        raise InputError(
            f"{source}: labels {unknown} do not belong to the convention '{convention}' {sorted(table)}; "
            "name the convention of this data set"
        )
    mapped = np.zeros(labels.shape, dtype=np.int8)
    for value, internal in table.items():
        mapped[labels == value] = internal
    return mapped


def from_regions(regions: Mapping[str, np.ndarray]) -> np.ndarray:
    """Labels (int8) of the three boolean masks of `REGIONS`: the smallest region that holds a voxel names it.

    Enhancing is enhancing tumour, core without it necrotic, whole tumour without core oedema.
    """
    labels = np.zeros(regions["whole_tumor"].shape, dtype=np.int8)
    for name, label in (("whole_tumor", OEDEMA), ("core", NECROTIC), ("enhancing", ENHANCING)):
        labels[regions[name]] = label
    return labels
