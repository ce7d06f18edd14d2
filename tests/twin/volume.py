"""A synthetic tumour known by its volume alone, with a posterior that is made, not fitted."""

import numpy as np

from twinjax.calibration import Datum, InverseProblem, Posterior, Prior
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


def twin(*, grows: bool = True, spread: float = 0.5, draws: int = 40) -> DigitalTwin:
    """A twin whose draws of the whitened parameters have the deviation `spread`."""
    prior = PRIOR if grows else STILL_PRIOR
    model = VolumeModel(growth="logistic", proliferation_rate=0.02 if grows else 0.0, carrying_capacity_mm3=1e6)
    data = [Datum(5.0, "volume_mm3", np.log(SIZE_MM3))]
    observations = {"volume_mm3": QuantityObservation("volume_mm3", 0.1)}
    given = Regimen((Radiotherapy([2.0], [2.0], alpha=ALPHA),))
    problem = InverseProblem(model, given, InitialSize(SIZE_MM3), observations, data, prior)
    size = len(prior.names)
    z = spread * np.random.default_rng(0).normal(size=(2, draws // 2, size))
    posterior = Posterior.from_draws(problem, z, np.zeros(size), method="none: synthetic draws", doubts=[])
    return DigitalTwin(model, posterior.map_estimate, posterior.credible_interval(0.95))
