"""When the quantities of a forecast progress, and by which criterion, for the reader."""

from collections.abc import Sequence

from twinjax.report.report import Table
from twinjax.report.style import lower_first, quantity_label
from twinjax.twin.progression import Criterion
from twinjax.twin.time_to_progression import ProgressionForecast


def criterion_words(criterion: Criterion, of: str) -> str:
    """What progression is and who says so; `of`: over what."""
    told = criterion.told(of)
    return f"Progression: {told['rule']}; {told['source']}."


def progression_table(found: Sequence[ProgressionForecast]) -> Table:
    """One row per quantity of one forecast."""
    rows = []
    for one in found:
        row = one.row()
        rows.append(
            [
                quantity_label(one.quantity)[0],
                row["criterion"],
                _days(row["median_days"], one),
                f"{_days(row['lower_days'], one)} to {_days(row['upper_days'], one)}",
                _share(row["already_progressed"]),
                _share(row["without_progression"]),
            ]
        )
    since, horizon = found[0].since_day, found[0].horizon_day
    rules = dict.fromkeys(criterion_words(one.criterion, one.over) for one in found)
    return Table(
        [
            "quantity",
            "criterion",
            f"days after day {since:g}, median",
            "90 % interval",
            f"progressed by day {since:g}",
            f"not by day {horizon:g}",
        ],
        rows,
        f"When each quantity progresses, as shares of the draws and by the model's course without the scatter of a "
        f"measurement; a real assessment sees it at the next visit. {' '.join(rules)}",
    )


def progression_sentence(one: ProgressionForecast) -> str:
    """For the summary."""
    row, label = one.row(), lower_first(quantity_label(one.quantity)[0])
    if row["median_days"] is None:
        return (
            f"The {label} is not expected to progress by day {one.horizon_day:g} ({row['criterion']}): it does not in "
            f"{_share(row['without_progression'])} of the draws."
        )
    if row["median_days"] <= 0:
        return (
            f"The {label} has progressed by day {one.since_day:g} already, over {one.over}, in "
            f"{_share(row['already_progressed'])} of the draws ({row['criterion']})."
        )
    return (
        f"The {label} is expected to progress {_days(row['median_days'], one)} days after day {one.since_day:g} "
        f"({row['criterion']}; 90 % interval {_days(row['lower_days'], one)} to {_days(row['upper_days'], one)})."
    )


def _days(days: float | None, one: ProgressionForecast) -> str:
    return f"after day {one.horizon_day:g}" if days is None else f"{days:.0f}"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"
