"""A synthetic patient known by PSA alone, with a posterior that is made, not fitted.

Crowding is at the lower end of the source's range, so that under treatment too PSA passes 40 ng/mL within years.
"""

import numpy as np

from twinjax.calibration import Datum, InverseProblem, Posterior, Prior
from twinjax.model import AndrogenCellQuota, InitialSize
from twinjax.observation import QuantityObservation
from twinjax.treatment import Regimen, androgen_deprivation_cycles
from twinjax.twin import DigitalTwin
from twinjax.twin.ahead import Ahead

DECISION = 280.0
PRIOR = Prior(
    {
        "growth_rate": {"distribution": ("lognormal", 0.025, 0.2), "where": "model.growth_rate"},
        "supply_rate": {"distribution": ("lognormal", 0.05, 0.3), "where": "model.supply_rate"},
    }
)


def twin(to_sensitive_rate: float = 0.018, draws: int = 20) -> DigitalTwin:
    """Treated from day 0 to day 252. By default resistant cells turn back where androgen is, so that pauses pay."""
    model = AndrogenCellQuota(
        supply_rate=0.05,
        sensitive_crowding=1e-6,
        resistant_crowding=1e-6,
        to_sensitive_rate=to_sensitive_rate,
        initial_resistant_fraction=1e-4,
    )
    observation = QuantityObservation("psa_ng_ml", 0.1)
    data = [Datum(100.0, "psa_ng_ml", observation.transform(1.0))]
    given = androgen_deprivation_cycles(0.0, 1, 252.0)
    problem = InverseProblem(model, given, InitialSize(14.6), {"psa_ng_ml": observation}, data, PRIOR)
    z = np.random.default_rng(0).normal(size=(2, draws // 2, problem.dimension))
    posterior = Posterior.from_draws(problem, z, np.zeros(problem.dimension), method="none: synthetic draws", doubts=[])
    return DigitalTwin(problem.whole.model, posterior.map_estimate, posterior.credible_interval(0.95))


def ahead(of: DigitalTwin, count: int = 4) -> tuple[Ahead, Regimen]:
    """Draws on the day of the decision, and what was given before."""
    past = of.regimen.before(DECISION)
    return Ahead.of(of._under(past), of.problem, of.whitened_draws(count), DECISION, "psa_ng_ml"), past
