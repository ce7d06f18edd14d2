"""Sections that every report has, on a synthetic bar of tissue."""

from dataclasses import replace

import bar
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.imaging import Scan
from twinjax.report import Table
from twinjax.report.section import (
    background_image,
    calibration_section,
    prior_draws,
    timing_section,
    visibility_levels,
)


@pytest.fixture(scope="module")
def posterior():
    return bar.posterior()


def test_the_calibration_shows_prior_posterior_and_truth(posterior):
    extra = Table(["x"], [[1]], "Extra.")
    section = calibration_section(posterior, "Words.", truth={"diffusivity": 0.4}, tables=[extra])
    assert (section.title, section.text, len(section.figures)) == ("Calibration", "Words.", 3)
    parameters, between, checks = section.tables
    assert between is extra
    assert [row[0] for row in parameters.rows] == ["Diffusivity", "Proliferation rate", "Alpha"]
    assert "truth (synthetic)" in parameters.columns
    assert checks.rows[-1][0] == "Verdict"


def test_the_table_of_parameters_tells_the_prior(posterior):
    table = calibration_section(posterior, "Words.").tables[0]
    shown = {row[0]: row[table.columns.index("prior")].replace("\u00a0", " ") for row in table.rows}
    low, high = np.quantile(prior_draws(posterior)["alpha"], [0.05, 0.95])
    assert [float(end) for end in shown["Alpha"].split(" to ")] == pytest.approx([low, high], rel=0.01)
    assert "90 % interval" in table.caption


def test_draws_that_are_no_chains_have_no_trace(posterior):
    independent = replace(posterior, diagnostics={**posterior.diagnostics, "r_hat": None})
    captions = [caption for caption, _ in calibration_section(independent, "Words.").figures]
    assert captions == ["Posterior (filled) and prior (dashed).", "Pairs of parameters."]


def test_prior_draws_have_the_median_and_width_of_the_prior(posterior):
    draws = prior_draws(posterior, 4000)
    assert {name: values.shape for name, values in draws.items()} == dict.fromkeys(posterior.names, (4000,))
    assert np.median(draws["diffusivity"]) == pytest.approx(0.5, rel=0.05)
    assert np.log(draws["alpha"]).std() == pytest.approx(0.3, rel=0.05)


def test_levels_are_those_at_the_mode(posterior):
    """This prior holds neither: they are the fixed levels of the observations."""
    assert visibility_levels(posterior) == {"core": pytest.approx(0.6), "oedema": pytest.approx(0.3)}


def test_a_tumour_is_drawn_on_anatomy_then_tissue_then_the_brain():
    image, tissue, brain = np.full((2, 2, 2), 7.0), np.full((2, 2, 2), 0.5), np.ones((2, 2, 2), bool)
    maps = {"brain_mask": brain, "white_matter": tissue, "grey_matter": tissue}
    shown = background_image(Scan(np.eye(4), {"FET": 0 * image, "FLAIR": image}, **maps))
    np.testing.assert_array_equal(shown, image)
    np.testing.assert_allclose(background_image(Scan(np.eye(4), {"FET": 0 * image}, **maps)), 0.8)
    np.testing.assert_array_equal(background_image(Scan(np.eye(4), {"FET": 0 * image}, brain_mask=brain)), 1)
    with pytest.raises(InputError, match="anatomical image"):
        background_image(Scan(np.eye(4), {"FET": image}))


def test_the_time_is_drawn_and_summed():
    section = timing_section({"imaging": 1.0, "fit": 2.5})
    assert section.tables[0].rows[-1][1] == 3.5 and len(section.figures) == 1
