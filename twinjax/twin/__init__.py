"""The twin at work: forecasts, comparisons, plans and how good they were."""

from twinjax.twin.adjustable import Adjustable as Adjustable
from twinjax.twin.comparison import Comparison as Comparison
from twinjax.twin.comparison import compare as compare
from twinjax.twin.course import CourseForecast as CourseForecast
from twinjax.twin.displacement import BrainDisplacement as BrainDisplacement
from twinjax.twin.displacement import brain_displacement as brain_displacement
from twinjax.twin.forecast import Forecast as Forecast
from twinjax.twin.plan import equal_volume_plan as equal_volume_plan
from twinjax.twin.plan import recurrence_coverage as recurrence_coverage
from twinjax.twin.plan import standard_plan as standard_plan
from twinjax.twin.planning_grid import OrganAtRisk as OrganAtRisk
from twinjax.twin.recommendation import PlanQuestion as PlanQuestion
from twinjax.twin.recommendation import Recommendation as Recommendation
from twinjax.twin.response import CompleteResponse as CompleteResponse
from twinjax.twin.response import complete_response as complete_response
from twinjax.twin.switching import SwitchingQuestion as SwitchingQuestion
from twinjax.twin.switching import SwitchingRecommendation as SwitchingRecommendation
from twinjax.twin.target_question import TargetQuestion as TargetQuestion
from twinjax.twin.target_recommendation import TargetRecommendation as TargetRecommendation
from twinjax.twin.twin import Assimilation as Assimilation
from twinjax.twin.twin import DigitalTwin as DigitalTwin
