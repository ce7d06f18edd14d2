"""What a report tells of a recommendation of any kind."""

from typing import NamedTuple

from twinjax.report.recommendation import recommendation_key_figure, recommendation_section, verdict
from twinjax.report.report import KeyFigure, Section
from twinjax.report.switching import switching_key_figure, switching_section, switching_verdict
from twinjax.report.target import target_key_figure, target_section, target_verdict
from twinjax.twin import Recommendation, SwitchingRecommendation, TargetRecommendation

Advice = Recommendation | SwitchingRecommendation | TargetRecommendation


class Recommended(NamedTuple):
    """Its section, a sentence for the summary, and the large number there."""

    section: Section
    verdict: str
    key_figure: KeyFigure


def recommended(made: Advice) -> Recommended:
    """Of a plan of doses, of thresholds that switch androgen deprivation, or of a radiotherapy target."""
    if isinstance(made, TargetRecommendation):
        return Recommended(target_section(made), target_verdict(made), target_key_figure(made))
    if isinstance(made, SwitchingRecommendation):
        return Recommended(switching_section(made), switching_verdict(made), switching_key_figure(made))
    return Recommended(recommendation_section(made), verdict(made), recommendation_key_figure(made))
