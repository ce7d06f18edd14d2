"""Quantities read from images and segmentations, each with its unit and, where it is known, its standard deviation."""

from twinjax.imaging.features.cellularity import cellularity_from_adc as cellularity_from_adc
from twinjax.imaging.features.cellularity import cellularity_standard_deviation as cellularity_standard_deviation
from twinjax.imaging.features.cellularity import lowest_adc as lowest_adc
from twinjax.imaging.features.measured import Measured as Measured
from twinjax.imaging.features.recist import Lesion as Lesion
from twinjax.imaging.features.recist import find_lesions as find_lesions
from twinjax.imaging.features.recist import measurable as measurable
from twinjax.imaging.features.recist import recist_sum as recist_sum
from twinjax.imaging.features.recist import target_lesions as target_lesions
from twinjax.imaging.features.record import feature_record as feature_record
from twinjax.imaging.features.record import tumor_features as tumor_features
from twinjax.imaging.features.record import write_features as write_features
from twinjax.imaging.features.shape import measure_volume as measure_volume
from twinjax.imaging.features.shape import shape_measures as shape_measures
from twinjax.imaging.features.shape import surface_area_mm2 as surface_area_mm2
from twinjax.imaging.features.size import centre_of_mass_mm as centre_of_mass_mm
from twinjax.imaging.features.size import diameters_mm as diameters_mm
from twinjax.imaging.features.size import rano_measures as rano_measures
from twinjax.imaging.features.size import volume_mm3 as volume_mm3
from twinjax.imaging.features.uptake import suv_statistics as suv_statistics
from twinjax.imaging.features.uptake import tumor_to_background as tumor_to_background
