"""`DigitalTwin`: a calibrated tumour that can be asked what will be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from twinjax.calibration import AbstractCalibrator, InverseProblem, Posterior, Tumor, assimilate
from twinjax.calibration.posterior import Summary
from twinjax.core.errors import InputError
from twinjax.imaging.scan import REGIONS, Scan
from twinjax.model import AbstractLumpedModel, AbstractSpatialModel, AbstractTumorModel
from twinjax.observation import visible_volume
from twinjax.treatment import Regimen
from twinjax.treatment.regimen import require_regimen
from twinjax.twin.adjustable import PlanVariables
from twinjax.twin.ahead import Ahead
from twinjax.twin.assimilation import Expected, change_of, expectations, new_data, surprises
from twinjax.twin.closed_loop import treated_since
from twinjax.twin.course import CourseForecast, forecast_course
from twinjax.twin.criteria import criterion_for
from twinjax.twin.dose_limits import DoseLimits
from twinjax.twin.forecast import LITTLE_VOLUME_MM3, Forecast, box_for, forecast
from twinjax.twin.planning_grid import OrganAtRisk, PlanningGrid
from twinjax.twin.recommendation import PlanQuestion, Recommendation, recommend
from twinjax.twin.solution import measured_volume, visibility_threshold
from twinjax.twin.switching import OUTCOME, SwitchingQuestion, SwitchingRecommendation, best_switching
from twinjax.twin.target import best_target
from twinjax.twin.target_question import TargetQuestion
from twinjax.twin.target_recommendation import TargetRecommendation

# Deviation of log volume that a segmentation has at least (models of untreated xenografts leave 0.09 to 0.13).
SMALLEST_VOLUME_NOISE = 0.10


class DigitalTwin:
    """A model with the posterior of its parameters; immutable.

        DigitalTwin(model=model, parameters=posterior.map_estimate, uncertainty=posterior.credible_interval(0.95))

    `parameters` and `uncertainty` are what a `Posterior` gives: they remember it, and forecasts draw from it.
    """

    def __init__(self, model: AbstractTumorModel, parameters: Mapping, uncertainty: Mapping | None = None):
        if not isinstance(parameters, Summary) or parameters.posterior.problem is None:
            raise InputError(
                "parameters must be the map_estimate of a posterior of this session (a plain dict, or a posterior "
                "read from a file, does not know the patient); calibrate, or use Posterior.attach(problem)"
            )
        if isinstance(uncertainty, Summary) and uncertainty.posterior is not parameters.posterior:
            raise InputError("parameters and uncertainty come from different posteriors")
        self.posterior: Posterior = parameters.posterior
        self.problem: InverseProblem = parameters.posterior.problem
        self.draw_uncertainty = uncertainty is not None
        expected = self.problem.whole.model
        if not eqx.tree_equal(model, expected):
            raise InputError("the model is not the one that was calibrated (another class, grid or constant)")
        self.model = model
        self.volume_noise = volume_noise(self.problem, self.posterior.z_map)

    @property
    def uncalibrated(self) -> tuple[str, ...]:
        """Parameters of treatments that the patient has not had: forecasts draw them from their prior."""
        return self.problem.forecast_prior.names[len(self.problem.prior.names) :]

    @property
    def regimen(self) -> Regimen:
        """What the patient was given while being observed, with nominal sensitivities."""
        return self.problem.whole.regimen

    @property
    def usual_outcome(self) -> str:
        """What a plan is judged by: the volume of the cells, or without space the size of the model."""
        return self.model.size_quantity if isinstance(self.model, AbstractLumpedModel) else "cell_volume_mm3"

    def predict(
        self,
        horizon_days: float,
        output_times: Sequence[float] | None = None,
        *,
        regimen: Regimen | None = None,
        draws: int = 100,
        fields: bool = True,
        progress: bool = False,
    ) -> Forecast | CourseForecast:
        """The forecast up to `horizon_days` after baseline.

        **Arguments:** `output_times` in days since baseline (default: ten, evenly spaced); `regimen` from baseline
        on (default: the one of the calibration); `draws` from the posterior (and from the prior of treatments that the
        patient has not had), 1 without `uncertainty`; `fields` False for quantities alone. A model without space gives
        a `CourseForecast`.

        Raises `InputError` for a horizon that is not positive, or times outside it.
        """
        start = self.problem.start
        if not np.isfinite(horizon_days) or horizon_days <= start:
            raise InputError(f"horizon_days must be a number of days above {start:g}, got {horizon_days}")
        evenly = np.linspace(start, horizon_days, 11)[1:]
        times = evenly if output_times is None else np.asarray(output_times, float)
        if times.size == 0 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            raise InputError(f"output_times must be ascending days, got {times.tolist()}")
        if times[0] < start or times[-1] > horizon_days:
            raise InputError(f"output_times must lie in [{start:g}, {horizon_days:g}], got {times.tolist()}")
        z = self.whitened_draws(draws) if self.draw_uncertainty else self._mode[None]
        if not isinstance(self.model, AbstractSpatialModel):
            return forecast_course(self._under(regimen), self.problem, z, times)
        return forecast(
            self._under(regimen),
            self.problem,
            self._mode,
            z,
            times,
            volume_noise=self.volume_noise,
            fields=fields,
            progress=progress,
        )

    def recommend(
        self,
        question: PlanQuestion,
        *,
        decision_day: float,
        horizon_days: float,
        given: Regimen | None = None,
        draws: int = 60,
        outcome: str | None = None,
        progression: str | None = None,
    ) -> Recommendation:
        """The plan of least risk within the limits of `question`, beside the standard (docs/recommendation.md).

        The search is on `draws` of the posterior, what is told of the plan on as many others; each half of the
        posterior's at most.

        **Arguments:** `decision_day` and `horizon_days`, since baseline; `given`, what the patient had before the
        decision (default: the twin's own regimen up to that day); `outcome`, lower is better (default: the volume of
        the cells, or without space the size of the model); `progression`, the name of its criterion (default: the usual
        one of its unit, `criterion_for`).

        Raises `InputError` for a horizon before the decision, a decision before the start of the model, a twin without
        `uncertainty`, or what `question` or `progression` ask that the standard plan or the outcome do not have.
        """
        outcome = self.usual_outcome if outcome is None else outcome
        question.check(outcome)
        criterion = criterion_for(outcome, progression)
        past = self._before(decision_day, horizon_days, given, draws)
        times = np.unique(np.append(np.arange(decision_day, horizon_days, 7.0), horizon_days))
        whole = self._under(past + question.regimen.shifted(decision_day))
        if isinstance(self.model, AbstractSpatialModel) and self.model.local:
            # With nothing given the tumour is at its largest.
            whole = whole.cropped(box_for(self._under(past), self.problem, self._mode, times))
        first = len(past.treatments)
        variables = PlanVariables(whole.regimen, question.adjust, first=first, decision_day=decision_day)
        halves = self._halves(whole, decision_day, outcome, draws)
        return recommend(question, criterion, DoseLimits(variables), *halves, times, self.scalar_columns)

    def recommend_switching(
        self,
        question: SwitchingQuestion,
        *,
        decision_day: float,
        horizon_days: float,
        given: Regimen | None = None,
        draws: int = 60,
    ) -> SwitchingRecommendation:
        """The thresholds of PSA that switch androgen deprivation best, beside continuous treatment and a protocol.

        Arguments, draws and errors are those of `recommend`; `InputError`, too, for a model that has no PSA under
        androgen deprivation.
        """
        question.check(self.model)
        past = self._before(decision_day, horizon_days, given, draws)
        times, since = question.reviews(decision_day, horizon_days), treated_since(past, decision_day)
        halves = self._halves(self._under(past), decision_day, OUTCOME, draws)
        return best_switching(question, *halves, times, since, self.scalar_columns)

    def recommend_target(
        self,
        question: TargetQuestion,
        scan: Scan,
        *,
        decision_day: float,
        given: Regimen | None = None,
        draws: int = 60,
        at_risk: OrganAtRisk | None = None,
    ) -> TargetRecommendation:
        """Target volumes and a painted dose on `decision_day`, beside the standard (docs/recommendation.md).

        **Arguments:** `scan`, with the core that the standard is drawn around and the mask of the organ; `at_risk`, an
        organ with a largest dose of its own. Others, draws and errors are those of `recommend`; `InputError`, too, for
        a model without space, a volume that the organ does not have, or a mask of `question` that was not read.
        """
        question.check(self.model)
        if question.at_risk is not None and at_risk is None:
            raise InputError(
                f"the question names an organ at risk, '{question.at_risk}', whose mask is not given: "
                "at_risk=OrganAtRisk(patient.mask(question.at_risk), question.largest_dose_at_risk)"
            )
        past = self._before(decision_day, decision_day + 1.0, given, draws)
        whole = self._under(past + Regimen((question.course.shifted(decision_day),)))
        assert isinstance(whole.model, AbstractSpatialModel)
        grid = PlanningGrid.of(whole.model.domain, scan, question.margin_mm, at_risk)
        if whole.model.local:
            lower, upper = box_for(self._under(past), self.problem, self._mode, np.asarray([decision_day]))
            around = whole.model.domain.box_around(grid.standard, 0.0)
            box = tuple(map(min, lower, around[0])), tuple(map(max, upper, around[1]))
            whole, grid = whole.cropped(box), grid.cropped(*box)
        halves = self._halves(whole, decision_day, "cell_volume_mm3", draws)
        return best_target(question, *halves, grid, scan, self.scalar_columns)

    def assimilate(
        self, problem: InverseProblem, calibrator: AbstractCalibrator, *, key: PRNGKeyArray, **options
    ) -> "Assimilation":
        """A new twin that knows a new visit, and what that changed (docs/assimilation.md); this one stays as it is.

        `problem` is made as the first was, of the patient until the new visit and with what was given since; it must
        be on the grid of the fit. `options` go to `twinjax.calibration.assimilate`, which says what it raises.
        """
        data = new_data(self.problem, problem)
        posterior = assimilate(self.posterior, problem, calibrator, key=key, **options)
        expected, days = [], sorted({datum.day for datum in data})
        if days:
            ahead = self.predict(days[-1], days, regimen=problem.whole.regimen, fields=False)
            expected = expectations(problem, data, ahead)
        fractions = [t.times for t in problem.whole.regimen.treatments if t.name == "radiotherapy"]
        return Assimilation(
            DigitalTwin(problem.whole.model, posterior.map_estimate, posterior.credible_interval(0.95)),
            expected,
            change_of(self.posterior, posterior),
            surprises(expected, np.concatenate([np.zeros(0), *fractions])),
        )

    @property
    def _mode(self) -> np.ndarray:
        """(parameters of `forecast_prior`,) the most probable; of treatments not given yet the median of the prior."""
        return np.append(self.posterior.z_map, np.zeros(len(self.uncalibrated)))

    def whitened_draws(self, count: int) -> np.ndarray:
        """(count, parameters of `forecast_prior`) whitened; the same in every call, so that options share them."""
        known = self.posterior.draws(count)
        unseen = np.random.default_rng(0).standard_normal((len(known), len(self.uncalibrated)))
        return np.hstack([known, unseen])

    def _before(self, decision_day: float, horizon_days: float, given: Regimen | None, draws: int) -> Regimen:
        """What was given before a decision; `InputError` for one that cannot be asked for."""
        if not self.draw_uncertainty:
            raise InputError("a recommendation weighs the draws of a posterior: give the twin its uncertainty")
        if not self.problem.start <= decision_day < horizon_days < np.inf:
            raise InputError(
                f"the decision (day {decision_day:g}) must not lie before day {self.problem.start:g}, and the horizon "
                f"(day {horizon_days:g}) must lie after it"
            )
        if draws < 10:
            raise InputError(f"a recommendation needs at least 10 draws, for an interval, got {draws}")
        return (self.regimen if given is None else given).before(decision_day)

    def _halves(self, whole: Tumor, day: float, outcome: str, draws: int) -> tuple[Ahead, Ahead]:
        """The draws of a search, and as many others to judge what it found."""
        z = self.whitened_draws(2 * min(draws, self.posterior.z[..., 0].size // 2))
        return Ahead.of(whole, self.problem, z[::2], day, outcome), Ahead.of(whole, self.problem, z[1::2], day, outcome)

    @property
    def scalar_columns(self) -> dict[str, int]:
        """Parameter that is a number to its column of z."""
        blocks = self.problem.forecast_prior.blocks
        return {name: block.start for name, block in blocks.items() if block.stop - block.start == 1}

    def _under(self, regimen: Regimen | None):
        if regimen is None:
            return self.problem.whole
        model, placed = self.problem.whole.model, require_regimen(regimen)
        placed = placed.on(model.domain) if isinstance(model, AbstractSpatialModel) else placed
        return eqx.tree_at(lambda tumor: tumor.regimen, self.problem.whole, placed)


@dataclass(frozen=True, eq=False)
class Assimilation:
    """What came of a new visit.

    **Fields:** `twin`, which knows it; `expected`, the new measurements beside what the earlier twin forecast;
    `change`, the rows of `change_of`; `warnings`, a sentence for each measurement outside its 90 % interval.
    """

    twin: DigitalTwin
    expected: list[Expected]
    change: list[dict[str, Any]]
    warnings: list[str]


def volume_noise(problem: InverseProblem, z_map) -> dict[str, float]:
    """Region to the deviation of log (volume + `LITTLE_VOLUME_MM3`) between segmentations and the mode.

    It is that of the calibration visits and holds the scatter of segmentation and the model's error; with the few
    visits there are it is never taken below `SMALLEST_VOLUME_NOISE`.
    """
    tumor, trajectory = problem.tumor_at(jnp.asarray(z_map)), problem.simulate(jnp.asarray(z_map))
    if not isinstance(tumor.model, AbstractSpatialModel):
        return {}
    domain, found, visits = tumor.model.domain, {}, problem.visits
    assert visits is not None
    for region in (name for name in REGIONS if name in tumor.observation):
        threshold, errors = visibility_threshold(tumor, region), []
        for datum, visit in zip(problem.data, visits, strict=True):
            if datum.observation != region:
                continue
            state = jax.tree.map(lambda leaf, i=visit: leaf[i], trajectory.states)
            predicted = visible_volume(tumor.model.cell_density(state), threshold, domain)
            observed = measured_volume(datum, domain)
            errors.append(np.log((observed + LITTLE_VOLUME_MM3) / (float(predicted) + LITTLE_VOLUME_MM3)))
        spread = float(np.sqrt(np.mean(np.square(errors)))) if errors else 0.0
        found[region] = max(SMALLEST_VOLUME_NOISE, spread)
    return found
