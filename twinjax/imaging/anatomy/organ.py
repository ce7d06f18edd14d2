"""An organ whose outline a file gives, such as the prostate or the pancreas."""

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.anatomy.anatomy import AbstractAnatomy, relative_to_mean


class OrganAnatomy(AbstractAnatomy):
    """The mask comes from a file, and `perfusion` from dynamic contrast-enhanced images (`DCE`, initial area over the
    mean in the organ) where there are any."""

    maps = ("perfusion",)

    def organ(self, images, affine):
        raise InputError("the organ's mask is missing; add organ_mask.nii.gz (outlining organs is not done here)")

    def tissue(self, images, affine, organ):
        return {"perfusion": relative_to_mean(np.asarray(images["DCE"]), organ)} if "DCE" in images else {}
