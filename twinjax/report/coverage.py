"""How far the intervals of a forecast are to be trusted, for the reader: how often they held on virtual patients."""

from collections.abc import Sequence

from twinjax.report.report import Table
from twinjax.twin.coverage import LEVELS, MeasuredCoverage

NOT_MEASURED = "How often such intervals hold has not been measured for this model on virtual patients."
MEANING = (
    "That is with the settings that the model comes with, on synthetic tumours of its own kind: what a model has wrong "
    "about a real tumour is not in it."
)


def coverage_text(measured: Sequence[MeasuredCoverage]) -> str:
    """`coverage_words`, and what they do not mean."""
    return f"{coverage_words(measured)} {MEANING}" if measured else NOT_MEASURED


def coverage_words(measured: Sequence[MeasuredCoverage]) -> str:
    """A sentence on the first of `measured` (`measured_coverage`), or that nothing was."""
    if not measured:
        return NOT_MEASURED
    one = measured[0]
    return (
        f"On {one.patients} synthetic patients of this model, calibrated by {one.calibrator}, 90 % intervals held "
        f"{one.inside[90]:g} % of {one.held_out} values that were held out."
    )


def coverage_tables(measured: Sequence[MeasuredCoverage]) -> list[Table]:
    """One table with a row per measurement; none where there is none."""
    if not measured:
        return []
    rows = []
    for one in measured:
        shares = [one.inside[level] for level in LEVELS]
        tumours = "of another growth law" if one.misfit else "of the model's own law"
        row = [one.calibrator, tumours, one.patients, one.held_out, *shares]
        rows.append([*row, one.parameters_inside])
    columns = ["calibrator", "tumours", "patients", "values held out"]
    columns += [f"in {level} % intervals (%)" for level in LEVELS]
    caption = (
        "How often intervals held on synthetic patients of this model. Twenty patients tell a share to about 5 per "
        f"cent. Measured, row by row, by {'; '.join(one.command for one in measured)}."
    )
    return [Table([*columns, "true parameters in 90 % (%)"], rows, caption)]
