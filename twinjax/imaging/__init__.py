"""From medical images to scans on one grid: reading, preprocessing, segmentation, features.

MONAI, torch, SimpleITK and nilearn are imported where they are used, so that this package loads without them.
"""

from twinjax.imaging.diffusion_tensor import read_diffusion_tensor as read_diffusion_tensor
from twinjax.imaging.features import cellularity_from_adc as cellularity_from_adc
from twinjax.imaging.nifti import read_nifti as read_nifti
from twinjax.imaging.nifti import write_nifti as write_nifti
from twinjax.imaging.pipeline import ImagingPipeline as ImagingPipeline
from twinjax.imaging.preprocessing import default_preprocessing as default_preprocessing
from twinjax.imaging.processed import ProcessedPatient as ProcessedPatient
from twinjax.imaging.record import ImagingRecord as ImagingRecord
from twinjax.imaging.scan import Scan as Scan
from twinjax.imaging.segmentation import AbstractSegmenter as AbstractSegmenter
from twinjax.imaging.segmentation import ExistingMaskSegmenter as ExistingMaskSegmenter
from twinjax.imaging.segmentation import NnUNetSegmenter as NnUNetSegmenter
from twinjax.imaging.segmentation import RuleBasedSegmenter as RuleBasedSegmenter
from twinjax.imaging.segmentation import SegResNetSegmenter as SegResNetSegmenter
from twinjax.imaging.segmentation import ThresholdSegmenter as ThresholdSegmenter
from twinjax.imaging.template import brain_template as brain_template
