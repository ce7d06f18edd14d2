"""The stage that compares treatment options, which every job over time has."""

from collections.abc import Mapping

from twinjax.core.config import load_named
from twinjax.job.output import Run
from twinjax.job.settings import JobSettings
from twinjax.treatment import Regimen
from twinjax.twin import Comparison, DigitalTwin, compare


def treatment_options(settings: JobSettings) -> dict[str, Regimen]:
    """The options of the settings, by name of conf/treatment."""
    return {name: load_named("treatment", name) for name in settings.options}


def compare_options(
    run: Run,
    twin: DigitalTwin,
    options: Mapping[str, Regimen],
    settings: JobSettings,
    *,
    given: Regimen,
    decision_day: float,
    outcome: str,
) -> Comparison | None:
    """The comparison after `decision_day` of a patient who was `given` treatment before; None without options."""
    if len(options) < 2:
        return None
    with run.stage("compare treatments"):
        comparison = compare(
            twin,
            options,
            decision_day=decision_day,
            horizon_days=decision_day + settings.decision_horizon_days,
            given=given,
            draws=settings.decision_draws,
            outcome=outcome,
            progress=True,
        )
        run.log_options(comparison)
    return comparison
