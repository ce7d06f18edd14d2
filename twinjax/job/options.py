"""What to do next: the stages that compare treatment options and seek a better plan, of every job over time."""

import logging
from collections.abc import Mapping
from typing import Any

from twinjax.core.config import load_named
from twinjax.job.output import Run
from twinjax.job.settings import JobSettings
from twinjax.report.recommended import Advice, recommended
from twinjax.treatment import Regimen
from twinjax.twin import (
    Comparison,
    DigitalTwin,
    PlanQuestion,
    Recommendation,
    SwitchingQuestion,
    TargetRecommendation,
    compare,
)

log = logging.getLogger("twinjax")

Question = PlanQuestion | SwitchingQuestion


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
            progression=settings.progression_of(outcome),
            progress=True,
        )
        run.log_options(comparison)
    return comparison


def recommend_plan(
    run: Run, twin: DigitalTwin, question: Question | None, settings: JobSettings, *, given: Regimen, day: float
) -> Advice | None:
    """The best plan from `day` on of a patient who was `given` treatment before; None where none is asked for.

    Files: `recommendation.csv` (the doses, or PSA and treatment by review) and `front.csv` (control against burden).
    """
    if question is None:
        return None
    with run.stage("seek a better plan"):
        when: dict[str, Any] = {"decision_day": day, "horizon_days": day + settings.decision_horizon_days}
        asked = when | {"given": given, "draws": settings.decision_draws}
        if isinstance(question, SwitchingQuestion):
            made = twin.recommend_switching(question, **asked)
        else:
            made = twin.recommend(question, **asked, progression=settings.progression_of(twin.usual_outcome))
        run.write_csv("recommendation.csv", made.rows())
        run.write_csv("front.csv", made.front_rows())
        log.info("  %s", recommended(made).verdict)
    return made


def recommendation_results(made: Advice | None) -> dict[str, Any]:
    """What `results.json` holds of a recommendation."""
    if made is None:
        return {"recommendation": None}
    if isinstance(made, TargetRecommendation):
        return {"recommendation": made.evidence()}
    limits = {"limits": made.limits} if isinstance(made, Recommendation) else {}
    return {"recommendation": made.evidence() | limits | {"front": made.front_rows()}}
