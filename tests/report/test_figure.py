import matplotlib
import numpy as np
import pytest
from matplotlib.colors import same_color

from twinjax.calibration import Posterior
from twinjax.report import figure as figures
from twinjax.report.style import COLORS, lower_first, quantity_label
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen, chemotherapy_cycles

RNG = np.random.default_rng(1)
TIMES = np.linspace(0, 90, 10)
VOLUMES = RNG.lognormal(np.log(20_000), 0.2, (200, 1)) * np.exp(0.01 * TIMES)


@pytest.fixture
def posterior():
    samples = {"diffusivity": RNG.lognormal(-2, 0.1, (3, 400)), "proliferation_rate": RNG.normal(0.03, 0.002, (3, 400))}
    mode = {name: float(np.median(draws)) for name, draws in samples.items()}
    return Posterior(samples, np.zeros((3, 400, 2)), mode, np.zeros(2), dict.fromkeys(samples, ""))


def line(panel, label):
    return next(each for each in panel.lines if each.get_label() == label)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("whole_tumor_volume_mm3", ("Whole tumour volume", "mL", 1e-3)),
        ("psa_ng_ml", ("PSA", "ng/mL", 1.0)),
        ("ca19_9_u_ml", ("CA19-9", "U/mL", 1.0)),
        ("sum_of_diameters_mm", ("Sum of diameters", "mm", 1.0)),
        ("eqd2_late_tissue_gy", ("EQD2 late tissue", "Gy", 1.0)),
        ("cell_count", ("Cell count", "", 1.0)),
    ],
)
def test_a_quantity_is_named_by_its_words_and_its_unit(name, expected):
    assert quantity_label(name) == expected


def test_an_acronym_keeps_its_capitals_in_the_middle_of_a_line():
    assert [lower_first(label) for label in ("Total dose", "PSA")] == ["total dose", "PSA"]


def test_the_volume_curve_shows_median_and_bands_in_ml():
    observed = figures.ObservedPoints([0, 30, 60], [20_000, 27_000, 36_000], [True, True, False])
    figure = figures.volume_curve(
        TIMES,
        {"whole_tumor_volume_mm3": VOLUMES, "core_volume_mm3": 0.4 * VOLUMES},
        observed={"whole_tumor_volume_mm3": observed},
        truth={"core_volume_mm3": 8_000 * np.exp(0.01 * TIMES)},
        forecast_start=30,
    )
    whole, core = figure.axes
    np.testing.assert_allclose(line(whole, "median").get_ydata(), np.median(VOLUMES, axis=0) / 1000)
    half, most = (band.get_paths()[0].vertices[:, 1] for band in whole.collections)
    np.testing.assert_allclose(half.max(), np.quantile(VOLUMES[:, -1], 0.75) / 1000)
    np.testing.assert_allclose(most.max(), np.quantile(VOLUMES[:, -1], 0.95) / 1000)
    assert whole.get_title("left") == "Whole tumour volume" and whole.get_ylabel() == "mL"
    np.testing.assert_allclose(line(whole, "observed, used in calibration").get_ydata(), [20, 27])
    np.testing.assert_allclose(line(whole, "observed, held out").get_ydata(), [36])
    assert line(whole, "observed, held out").get_marker() != line(whole, "observed, used in calibration").get_marker()
    np.testing.assert_allclose(line(core, "truth (synthetic)").get_ydata(), 8 * np.exp(0.01 * TIMES))
    assert any(list(each.get_xdata()) == [30, 30] for each in whole.lines)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(labels) == len(set(labels)) == 6


def test_the_treatment_strip_joins_days_in_a_row_and_ticks_every_fraction():
    regimen = (
        Regimen([Radiotherapy(np.array([10.0, 11.0, 14.0]), 2.0), Chemotherapy(np.arange(10.0, 20.0), 75.0)])
        + chemotherapy_cycles(40, 2, 28, [1, 2, 3, 4, 5], [150])
    )  # fmt: skip
    marks = figures.treatment_marks(regimen)
    assert [(mark.label, mark.continuous, len(mark.times)) for mark in marks] == [
        ("radiotherapy", False, 3),
        ("temozolomide", True, 20),
    ]
    figure = figures.volume_curve(TIMES, {"core_volume_mm3": VOLUMES}, treatments=marks)
    strip = figure.axes[1]
    fractions, blocks = strip.collections
    assert [path.vertices[0, 0] for path in fractions.get_paths()] == [10, 11, 14]
    spans = [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in blocks.get_paths()]
    assert spans == [(10, 20), (40, 45), (68, 73)]
    assert [text.get_text() for text in strip.get_yticklabels()] == ["radiotherapy", "temozolomide"]


def test_a_single_operation_is_one_marker():
    mark = figures.TreatmentMark("resection", [12.0], continuous=False)
    figure = figures.volume_curve(TIMES, {"core_volume_mm3": VOLUMES}, treatments=[mark])
    assert list(figure.axes[1].lines[0].get_xdata()) == [12]


def test_marginals_show_prior_truth_and_interval(posterior):
    prior = {"diffusivity": RNG.lognormal(-2, 0.2, 5000)}
    figure = figures.posterior_marginals(
        posterior, prior_draws=prior, truth={"diffusivity": 0.14}, units={"diffusivity": "mm²/day"}
    )
    first, second = figure.axes
    assert list(line(first, "truth (synthetic)").get_xdata()) == [0.14, 0.14]
    np.testing.assert_allclose(
        line(first, "90 % interval").get_xdata(), np.quantile(posterior.samples["diffusivity"], [0.05, 0.95])
    )
    histogram = next(patch for patch in first.patches if patch.get_label() == "posterior")
    x, y = histogram.get_xy().T
    assert abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2 == pytest.approx(1)
    stairs = next(patch for patch in first.patches if patch.get_label() == "prior")
    heights, edges, _ = stairs.get_data()
    assert np.sum(heights * np.diff(edges)) == pytest.approx(
        np.mean((prior["diffusivity"] >= edges[0]) & (prior["diffusivity"] <= edges[-1]))
    )
    assert first.get_xlabel() == "mm²/day"
    assert not any(each.get_label() == "truth (synthetic)" for each in second.lines)


def test_a_parameter_that_does_not_vary_still_has_a_marginal(posterior):
    posterior.samples["diffusivity"] = np.full((3, 400), 0.1)
    low, high = figures.posterior_marginals(posterior).axes[0].get_xlim()
    assert low < 0.1 < high
    texts = [text.get_text() for panel in figures.posterior_pairs(posterior).axes for text in panel.texts]
    assert texts == ["fixed"]


def test_pairs_state_the_correlation_and_mark_the_truth(posterior):
    posterior.samples["proliferation_rate"] = 0.05 - 0.1 * posterior.samples["diffusivity"]
    truth = {"diffusivity": 0.13, "proliferation_rate": 0.037}
    panels = np.reshape(figures.posterior_pairs(posterior, truth=truth).axes, (2, 2))
    assert [text.get_text() for text in panels[0, 1].texts] == ["r = −1.00"]
    points = panels[1, 0].collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 1], 0.05 - 0.1 * points[:, 0])
    assert panels[1, 0].lines[0].get_xydata().tolist() == [[0.13, 0.037]]


def test_traces_give_each_chain_its_own_line_style(posterior):
    figure = figures.posterior_traces(posterior, max_draws=400)
    chains = figure.axes[0].lines
    assert len({chain.get_linestyle() for chain in chains}) == len(chains) == 3
    np.testing.assert_allclose(chains[1].get_ydata(), posterior.samples["diffusivity"][1])


def test_options_show_course_outcome_and_probability():
    curves = {"none": VOLUMES, "radiotherapy": 0.8 * VOLUMES}
    outcomes = {name: draws[:, -1] for name, draws in curves.items()}
    figure = figures.option_comparison(outcomes, quantity="core_volume_mm3", curves=curves, times=TIMES)
    course, spread, chance = figure.axes
    np.testing.assert_allclose(line(course, "radiotherapy").get_ydata(), 0.8 * np.median(VOLUMES, axis=0) / 1000)
    assert [bar.get_width() for bar in chance.patches] == [0, 1]
    assert [text.get_text() for text in chance.texts] == ["0 %", "100 %"]
    assert [label.get_text() for label in spread.get_yticklabels()] == ["none", "radiotherapy"]
    np.testing.assert_allclose(spread.lines[3].get_xdata(), np.quantile(0.8 * VOLUMES[:, -1], [0.05, 0.95]) / 1000)
    assert len(figures.option_comparison(outcomes, quantity="core_volume_mm3").axes) == 2


def test_scores_stand_against_their_target():
    scores = {"whole": [0.9, 0.8], "core": [0.7, 0.6]}
    panel = figures.score_bars(["day 60", "day 90"], scores, title="Dice", target=0.85).axes[0]
    assert [bar.get_height() for bar in panel.patches] == [0.9, 0.8, 0.7, 0.6]
    assert list(line(panel, "target 0.85").get_ydata()) == [0.85, 0.85]
    assert len({bar.get_hatch() for bar in panel.patches}) == 2


def test_timing_bars_are_in_the_order_given():
    panel = figures.timing_bars({"imaging": 20.0, "calibration": 1200.0, "report": 0.5}).axes[0]
    assert [bar.get_width() for bar in panel.patches] == [20, 1200, 0.5]
    assert [text.get_text() for text in panel.texts] == ["20 s", "1,200 s", "0.5 s"]
    assert panel.yaxis_inverted()
    assert same_color(panel.patches[0].get_facecolor(), COLORS["blue"])


def test_drawing_leaves_the_settings_of_matplotlib_alone(posterior):
    before = dict(matplotlib.rcParams)
    figures.posterior_traces(posterior)
    assert dict(matplotlib.rcParams) == before
