"""What the data say about each parameter: a table, the combinations that are known, and profiles."""

import numpy as np
from matplotlib.figure import Figure

from twinjax.calibration import Identifiability
from twinjax.report.report import Section, Table
from twinjax.report.style import COLORS, quantity_label, styled, with_unit

MEANING = {
    "data": "the data",
    "only in combination": "the data, only in combination",
    "mostly prior": "mostly the prior",
}


def identifiability_section(found: Identifiability) -> Section:
    """Warnings first; then one row per parameter, and the combinations that the data know."""
    text = (
        "How much of each parameter the data know. Contraction is the share by which the data shrink the prior's "
        "variance: of the parameter by itself, and of it were all others known. Where the second is large and the "
        "first small, the data know only a combination of parameters."
    )
    figures = [("Profile likelihoods.", profile_figure(found))] if found.profiles else []
    return Section(
        "What the data say about each parameter",
        "\n\n".join([text, *found.warnings]),
        figures,
        [_parameter_table(found), _combination_table(found)],
    )


@styled
def profile_figure(found: Identifiability) -> Figure:
    """Twice the log likelihood lost along each parameter, and the threshold at which its 95 % interval ends."""
    profiles = list(found.profiles.values())
    columns = min(4, len(profiles))
    rows = -(-len(profiles) // columns)
    figure = Figure(figsize=(max(4.0, 2.45 * columns), 2.2 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(profiles) :]:
        panel.set_axis_off()
    for profile, panel in zip(profiles, panels, strict=False):
        panel.plot(profile.values, profile.misfit, "o-", color=COLORS["blue"], markersize=3.5, linewidth=1.4)
        panel.axhline(profile.threshold, color=COLORS["vermillion"], linestyle="--", linewidth=1.2)
        panel.set(title=quantity_label(profile.name)[0], xlabel=_shown(profile.unit), ylim=(0, 2 * profile.threshold))
        if (profile.values > 0).all() and profile.values.max() > 20 * profile.values.min():
            panel.set_xscale("log")
        else:
            panel.locator_params(axis="x", nbins=3)
        panel.grid(axis="y")
    panels[0].set_ylabel("lost, 2 × log likelihood")
    return figure


def _parameter_table(found: Identifiability) -> Table:
    columns = ["parameter", "informed by", "contraction", "contraction, others known", "most correlated with"]
    columns += ["95 % interval of the profile"] * bool(found.profiles)
    rows = []
    for name in found.names:
        partner = found.partner(name)
        row: list = [quantity_label(name)[0], MEANING[found.verdict(name)]]
        row += [_percent(found.contraction[name]), _percent(found.with_others[name])]
        row.append("—" if partner is None else f"{_words(partner[0])} ({partner[1]:+.2f})".replace("-", "−"))
        if found.profiles:
            profile = found.profiles[name]
            lower, upper = ("open" if end is None else f"{end:.3g}" for end in profile.interval)
            row.append(with_unit(f"{lower} to {upper}", _shown(profile.unit)))
        rows.append(row)
    return Table(columns, rows, "What the data say about each parameter.")


def _combination_table(found: Identifiability) -> Table:
    """The eigenvectors of the Fisher information, from the best known to the least."""
    rows = [
        [direction.name, _small_percent(direction.remaining), "the data" if direction.known else "mostly the prior"]
        for direction in found.directions
    ]
    return Table(
        ["combination", "remaining share of the prior's deviation", "informed by"],
        rows,
        "Independent combinations of the parameters, best known first (eigenvectors of the Fisher information, named "
        "by their largest parts).",
    )


def _percent(share: float) -> str:
    return f"{100 * np.clip(share, 0.0, 1.0):.0f}\u00a0%"


def _small_percent(share: float) -> str:
    """With two digits, however small."""
    return f"{100 * share:.2g}\u00a0%" if share < 0.1 else _percent(share)


def _shown(unit: str) -> str:
    """A ratio has the unit 1, which is no word for a reader."""
    return "" if unit == "1" else unit


def _words(name: str) -> str:
    return name.replace("_", " ")
