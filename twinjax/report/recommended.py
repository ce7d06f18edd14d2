"""What a report tells of a recommendation of either kind."""

from typing import NamedTuple

from twinjax.report.recommendation import recommendation_key_figure, recommendation_section, verdict
from twinjax.report.report import KeyFigure, Section
from twinjax.report.switching import switching_key_figure, switching_section, switching_verdict
from twinjax.twin import Recommendation, SwitchingRecommendation

Advice = Recommendation | SwitchingRecommendation


class Recommended(NamedTuple):
    """Its section, a sentence for the summary, and the large number there."""

    section: Section
    verdict: str
    key_figure: KeyFigure


def recommended(made: Advice) -> Recommended:
    """Of a plan of doses, or of thresholds that switch androgen deprivation."""
    if isinstance(made, SwitchingRecommendation):
        return Recommended(switching_section(made), switching_verdict(made), switching_key_figure(made))
    return Recommended(recommendation_section(made), verdict(made), recommendation_key_figure(made))
