"""The contact sheet of visits; what a panel shows is tested with the report's overview."""

import numpy as np
import pytest
from matplotlib.image import imread

from twinjax.core.errors import InputError
from twinjax.imaging import Scan
from twinjax.imaging.contact_sheet import contact_sheet, write_contact_sheet


def scan(names, shape=(30, 24, 12), tumor=True):
    segmentation = np.zeros(shape, np.int8)
    if tumor:
        segmentation[8:18, 8:16, 4:8] = 2
        segmentation[10:14, 10:14, 4:7] = 3
    ct = np.where(np.indices(shape)[0] > 3, 40.0 + segmentation, -1000.0).astype(np.float32)
    return Scan(np.diag([1.0, 1.5, 3.0, 1.0]), dict.fromkeys(names, ct), segmentation)


def test_a_row_per_visit_by_day_and_a_column_per_image(tmp_path):
    scans = {30.0: scan(["CT"], shape=(20, 24, 12)), 0.0: scan(["CT", "PET"]), 60.0: scan(["PET"], tumor=False)}
    figure = contact_sheet(scans)
    panels = np.reshape(figure.axes, (3, 2))
    assert [panel.get_ylabel() for panel in panels[:, 0]] == ["day 0", "day 30", "day 60"]
    assert [panel.get_title() for panel in panels[0]] == ["CT", "PET"]
    contours = [[type(c).__name__ for c in panel.collections].count("QuadContourSet") for panel in panels.ravel()]
    assert contours == [2, 2, 2, 0, 0, 0]
    texts = [panel.texts[0].get_text() for panel in panels.ravel()]
    assert texts == ["R", "R", "R", "not acquired", "not acquired", "R"]
    write_contact_sheet(tmp_path / "sheet.png", scans, dots_per_inch=50)
    picture = imread(tmp_path / "sheet.png")
    assert picture.shape[0] > picture.shape[1] > 100 and np.ptp(picture[..., :3]) > 0.9


def test_a_contact_sheet_of_no_images_is_refused():
    with pytest.raises(InputError, match="image"):
        contact_sheet({0.0: scan([])})
