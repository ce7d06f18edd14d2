"""The synthetic head and the made-up DICOM series are helper modules of these tests."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "dicom")]
