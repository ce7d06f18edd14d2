"""DICOM in and out: CT, MR and PET series to raw visit folders; SEG, RTSTRUCT and RTDOSE read and written.

pydicom, highdicom and SimpleITK are imported where they are used, so that this package loads without them.
"""

from twinjax.imaging.dicom.convert import Conversion as Conversion
from twinjax.imaging.dicom.convert import convert_dicom as convert_dicom
from twinjax.imaging.dicom.rtdose import write_rtdose as write_rtdose
from twinjax.imaging.dicom.rtstruct import read_rtstruct as read_rtstruct
from twinjax.imaging.dicom.rtstruct import write_rtstruct as write_rtstruct
from twinjax.imaging.dicom.rules import DicomRules as DicomRules
from twinjax.imaging.dicom.rules import SeriesRule as SeriesRule
from twinjax.imaging.dicom.rules import load_rules as load_rules
from twinjax.imaging.dicom.seg import read_seg as read_seg
from twinjax.imaging.dicom.seg import write_seg as write_seg
from twinjax.imaging.dicom.series import is_dicom_folder as is_dicom_folder
from twinjax.imaging.dicom.source import Source as Source
from twinjax.imaging.dicom.source import read_source as read_source
from twinjax.imaging.dicom.suv import body_weight_suv_factor as body_weight_suv_factor
