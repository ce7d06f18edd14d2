"""A synthetic tumour known by its volume alone, with a posterior that is made, not fitted."""

import jax
import jax.numpy as jnp
import numpy as np

from twinjax.calibration import Datum, InverseProblem, LevenbergMarquardt, Posterior, Prior
from twinjax.model import InitialSize, VolumeModel
from twinjax.observation import QuantityObservation
from twinjax.treatment import Radiotherapy, Regimen
from twinjax.twin import DigitalTwin

SIZE_MM3, ALPHA = 20_000.0, 0.05
PRIOR = Prior(
    {
        "proliferation_rate": {"distribution": ("lognormal", 0.02, 0.3), "where": "model.proliferation_rate"},
        "alpha": {"distribution": ("lognormal", ALPHA, 0.3), "where": "regimen.radiotherapy.alpha"},
    }
)
# What does not grow: of it only the linear-quadratic kill is left.
STILL_PRIOR = Prior({"alpha": {"distribution": ("lognormal", ALPHA, 0.3), "where": "regimen.radiotherapy.alpha"}})


def problem(later=None, *, grows: bool = True) -> InverseProblem:
    """The volume on day 5, and `later`: day to volume (mm³)."""
    prior = PRIOR if grows else STILL_PRIOR
    model = VolumeModel(growth="logistic", proliferation_rate=0.02 if grows else 0.0, carrying_capacity_mm3=1e6)
    observation = QuantityObservation("volume_mm3", 0.1)
    seen = {5.0: SIZE_MM3} | (later or {})
    data = [Datum(day, "volume_mm3", observation.transform(size)) for day, size in seen.items()]
    given = Regimen((Radiotherapy([2.0], [2.0], alpha=ALPHA),))
    return InverseProblem(model, given, InitialSize(SIZE_MM3), {"volume_mm3": observation}, data, prior)


def expected(day: float) -> float:
    """The volume on a day at the median of the prior."""
    of = problem({day: 1.0})
    return float(of.tumor_at(jnp.zeros(2)).model.quantities(of.simulate(jnp.zeros(2)).states[-1])["volume_mm3"])


def twin(*, grows: bool = True, spread: float = 0.5, draws: int = 40) -> DigitalTwin:
    """A twin whose draws of the whitened parameters have the deviation `spread`."""
    of = problem(grows=grows)
    size = of.dimension
    z = spread * np.random.default_rng(0).normal(size=(2, draws // 2, size))
    posterior = Posterior.from_draws(of, z, np.zeros(size), method="none: synthetic draws", doubts=[])
    return DigitalTwin(of.whole.model, posterior.map_estimate, posterior.credible_interval(0.95))


def fitted(of: InverseProblem) -> DigitalTwin:
    posterior = LevenbergMarquardt(estimate_noise=False, draws=400).fit(of, key=jax.random.key(1))
    return DigitalTwin(of.whole.model, posterior.map_estimate, posterior.credible_interval(0.95))
