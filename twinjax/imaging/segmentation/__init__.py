"""Segmentation backends, one a file; `conf/segmentation` names them."""

from twinjax.imaging.segmentation.existing_mask import ExistingMaskSegmenter as ExistingMaskSegmenter
from twinjax.imaging.segmentation.nnunet import NnUNetSegmenter as NnUNetSegmenter
from twinjax.imaging.segmentation.rule_based import RuleBasedSegmenter as RuleBasedSegmenter
from twinjax.imaging.segmentation.segmenter import AbstractSegmenter as AbstractSegmenter
from twinjax.imaging.segmentation.segresnet import SegResNetSegmenter as SegResNetSegmenter
from twinjax.imaging.segmentation.threshold import ThresholdSegmenter as ThresholdSegmenter
