"""What the report says about each parameter, and about models compared."""

from dataclasses import replace

import bar
import numpy as np
import pytest

from twinjax.calibration import ModelComparison, Profile
from twinjax.calibration.model_choice import ModelScore
from twinjax.report.identifiability import identifiability_section, profile_figure
from twinjax.report.model_choice import model_choice_figure, model_choice_table


@pytest.fixture(scope="module")
def found():
    return bar.identifiability(bar.posterior(spread=0.9, draws=400))


def test_the_section_warns_and_tells_every_parameter(found):
    section = identifiability_section(found)
    assert section.title == "What the data say about each parameter" and section.figures == []
    assert "The data say next to nothing about alpha: what is reported is mostly the prior." in section.text
    assert "Diffusivity and proliferation rate are not known one by one: the data know " in section.text
    parameters, combinations = section.tables
    first = dict(zip(parameters.columns, parameters.rows[0], strict=True))
    assert first["parameter"] == "Diffusivity" and first["informed by"] == "the data, only in combination"
    assert first["contraction, others known"] == "98\u00a0%"
    assert [row[2] for row in combinations.rows] == ["the data", "mostly the prior", "mostly the prior"]
    # One in ten: 1 / sqrt(1 + 100).
    assert [row[1] for row in combinations.rows] == ["10\u00a0%", "100\u00a0%", "100\u00a0%"]


def test_profiles_are_drawn_with_their_ends(found):
    z = np.linspace(-3, 3, 13)
    closed, opened = (
        Profile(name, "mm²/day", z, np.exp(z), misfit, 3.84)
        for name, misfit in (("diffusivity", 3 * z**2), ("proliferation_rate", 0.1 * np.maximum(z, 0) ** 2))
    )
    flat = Profile("alpha", "1/Gy", z, 0.03 + 0.001 * z, np.zeros(13), 3.84)
    profiled = replace(found, profiles={profile.name: profile for profile in (closed, opened, flat)})
    section = identifiability_section(profiled)
    (caption, figure), ends = section.figures[0], [row[-1] for row in section.tables[0].rows]
    assert caption == "Profile likelihoods." and len(figure.axes) == 3
    assert ends[1:] == ["open to open (mm²/day)", "open to open (1/Gy)"]
    # Where 3 z² passes 3.84.
    low, high = ends[0].removesuffix(" (mm²/day)").split(" to ")
    assert [float(low), float(high)] == pytest.approx(np.exp([-np.sqrt(1.28), np.sqrt(1.28)]), rel=0.01)
    assert "do not bound alpha on either side" in section.text
    # A range of several powers of e is shown on a logarithmic axis, a narrow one is not.
    assert [panel.get_xscale() for panel in profile_figure(profiled).axes] == ["log", "log", "linear"]


def test_models_compared_are_shown_best_first():
    scores = tuple(
        ModelScore(name, -10.0 - gap, 2.0, 2.1, gap, 0.5 * gap, -10.1 - gap, 2.0, weight, k, bad, (), None)
        for name, gap, weight, k, bad in (("gompertz", 0.0, 0.9, 0.3, ()), ("exponential", 8.0, 0.1, 0.9, ("day 3",)))
    )
    comparison = ModelComparison(scores, ("day 0", "day 3"))
    table = model_choice_table(comparison)
    assert [row[0] for row in table.rows] == ["gompertz", "exponential"]
    assert table.rows[1][1] == "−18.0 ± 2.0" and table.rows[1][2] == "8.0 ± 4.0"
    assert [row[-1] for row in table.rows] == [True, False] and table.rows[0][6] is None
    spread, weight = model_choice_figure(comparison).axes
    assert [text.get_text() for text in spread.get_yticklabels()] == ["gompertz", "exponential"]
    assert [text.get_text() for text in weight.texts] == ["0.90", "0.10"]
    assert [text.get_text() for text in spread.texts] == ["Pareto k ≥ 0.7 for 1 of 2"]
