"""The lungs in a CT scan."""

from twinjax.core.errors import InputError
from twinjax.imaging.anatomy.anatomy import AbstractAnatomy
from twinjax.imaging.features import lung_mask


class LungAnatomy(AbstractAnatomy):
    """The air-filled lungs with what lies in them, from Hounsfield units (`twinjax.imaging.features.lung`)."""

    maps = ()

    def organ(self, images, affine):
        if "CT" not in images:
            raise InputError("the lungs are found in a CT scan; add CT.nii.gz, or organ_mask.nii.gz")
        return lung_mask(images["CT"], affine)

    def tissue(self, images, affine, organ):
        return {}
