"""The lung phantom: a size that lungs have, its walls, and a window into it."""

import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.patient.phantom import lung


def test_a_whole_lung_has_the_volume_and_the_walls_of_one():
    """A right lung holds two to three litres."""
    domain = lung(resolution_mm=4.0)
    litres = float(np.asarray(domain.mask).sum()) * 4.0**3 / 1e6
    assert 1.5 < litres < 3.5
    x = np.asarray(domain.coordinates())[0][np.asarray(domain.mask)]
    assert x.min() > 0 and x.max() < 110
    # Above the dome of the diaphragm there is lung where, at the same height, further out there is none below it.
    columns = np.asarray(domain.mask).argmax(axis=2)[np.asarray(domain.mask).any(axis=2)]
    assert columns.max() - columns.min() > 5


def test_a_window_shows_what_is_there():
    whole, window = lung(resolution_mm=4.0), lung(resolution_mm=4.0, field_of_view_mm=64.0, center_mm=[52.0, 4.0, 10.0])
    assert window.affine is not None
    np.testing.assert_array_equal(
        whole.to_grid(np.asarray(whole.mask, float), window.affine, window.shape) > 0.5, np.asarray(window.mask)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"resolution_mm": 0.0}, "resolution_mm"), ({"field_of_view_mm": 40.0, "center_mm": (400.0, 0, 0)}, "outside")],
)
def test_sizes_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        lung(**settings)
