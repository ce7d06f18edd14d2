"""The brain: mask, white and grey matter."""

from typing import Literal

import numpy as np

from twinjax.core.errors import InputError
from twinjax.domain import resample
from twinjax.imaging.anatomy.anatomy import AbstractAnatomy, foreground
from twinjax.imaging.features import tissue_from_scan
from twinjax.imaging.registration import register
from twinjax.imaging.template import brain_template


class BrainAnatomy(AbstractAnatomy):
    """White and grey matter of the ICBM152 template, registered affinely to the first image: an average brain, the
    folds of this patient are not in it.

    **Arguments:** `skull`: `"stripped"`, the images show brain alone and its mask is their foreground; `"strip"`, the
    skull is taken off by brainextractor (Smith 2002, Hum Brain Mapp 17:143), which the extra `skull` installs.
    `tissue`: `"template"`, or `"scan"`, by the brightness of the first image with the template as prior
    (`tissue_from_scan`).
    """

    maps = ("white_matter", "grey_matter")

    def __init__(
        self, skull: Literal["stripped", "strip"] = "stripped", tissue: Literal["template", "scan"] = "template"
    ):
        if skull not in ("stripped", "strip"):
            raise InputError(f"anatomy.skull must be 'stripped' or 'strip', got '{skull}'")
        if tissue not in ("template", "scan"):
            raise InputError(f"anatomy.tissue must be 'template' or 'scan', got '{tissue}'")
        self.skull, self.source = skull, tissue

    def organ(self, images, affine):
        if self.skull == "stripped":
            return foreground(list(images.values()))
        from twinjax.imaging.anatomy.skull import brain_of

        return brain_of(next(iter(images.values())), affine)

    def tissue(self, images, affine, organ):
        image, template = next(iter(images.values())) * organ, brain_template(2.0)
        matrix = register(image, affine, template.image("T1"), template.affine, kind="affine", align_centres=True)
        from_template = np.linalg.inv(matrix) @ template.affine
        return {
            name: resample(np.asarray(getattr(template, name)), from_template, affine, image.shape) * organ
            for name in self.maps
        }

    def refined(self, scan):
        if self.source == "template":
            return {}
        found = tissue_from_scan(scan, next(iter(scan.images)))
        return {name: getattr(found, name) for name in self.maps}
