"""Calibration in one call: from two scans, or from a patient."""

from collections.abc import Mapping, Sequence

import jax
import numpyro.distributions as dist

from twinjax.calibration.calibrator import AbstractCalibrator
from twinjax.calibration.importance import ImportanceSampler
from twinjax.calibration.levenberg_marquardt import LevenbergMarquardt
from twinjax.calibration.longitudinal import longitudinal_problem
from twinjax.calibration.physics_informed import PhysicsInformedNetwork
from twinjax.calibration.posterior import Posterior, Summary
from twinjax.calibration.prior import Prior
from twinjax.calibration.problem import coarse_and_fine
from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.imaging.scan import Scan
from twinjax.model import AbstractSpatialModel, FisherKPP
from twinjax.patient import PatientData, Visit

MODEL_TYPES = {"reaction_diffusion": FisherKPP}
METHODS = {"bayesian": ImportanceSampler, "gradient": LevenbergMarquardt, "pinn": PhysicsInformedNetwork}
# Short names that users write, and the parameters that they mean.
ALIASES = {"diffusion": "diffusivity", "proliferation": "proliferation_rate"}


class ParameterEstimator:
    """Growth parameters from two scans.

    `model_type` is a key of `MODEL_TYPES`; `optimization` is `"bayesian"` (importance sampling from the
    Laplace approximation), `"gradient"` (Levenberg-Marquardt and the Laplace approximation itself) or `"pinn"` (a
    physics-informed network, checked against the solver). A `calibrator` of your own, such as `NoUTurnSampler`,
    replaces them.
    """

    def __init__(
        self,
        model_type: str = "reaction_diffusion",
        optimization: str = "bayesian",
        *,
        resolution_mm: float = 2.0,
        calibrator: AbstractCalibrator | None = None,
    ):
        if model_type not in MODEL_TYPES:
            raise InputError(f"model_type '{model_type}' is unknown; choose one of {', '.join(MODEL_TYPES)}")
        if optimization not in METHODS:
            raise InputError(f"optimization '{optimization}' is not available; choose one of {', '.join(METHODS)}")
        self.model_type, self.resolution_mm = model_type, resolution_mm
        self.calibrator = METHODS[optimization]() if calibrator is None else calibrator

    def estimate(
        self,
        imaging_t0: Scan,
        imaging_t1: Scan,
        time_interval_days: float,
        prior_distributions: Mapping[str, dist.Distribution | Sequence] | None = None,
        *,
        seed: int = 0,
    ) -> Summary:
        """The posterior mode, name to value: `diffusion` (mm²/day), `proliferation` (1/day), `carrying_capacity`.

        The scans share one grid and carry a segmentation; no treatment acts between them. `prior_distributions`
        replaces priors of conf/prior/glioblastoma by name, `("lognormal", median, sigma)` and its like. The
        whole posterior is the result's `posterior`.

        Raises `InputError` for an interval that is not positive, or scans that do not fit together.
        """
        if not time_interval_days > 0:
            raise InputError(f"time_interval_days must be positive, got {time_interval_days}")
        visits = (Visit(0.0, imaging_t0), Visit(float(time_interval_days), imaging_t1))
        patient = PatientData.from_visits("patient", visits)
        model = MODEL_TYPES[self.model_type](patient.brain_mask, resolution_mm=self.resolution_mm)
        wanted = {ALIASES.get(name, name): value for name, value in (prior_distributions or {}).items()}
        prior = default_prior().replaced(wanted)
        problem = longitudinal_problem(patient, model, prior)
        posterior = self.calibrator.fit(problem, key=jax.random.key(seed))
        named = {alias: posterior.mode[name] for alias, name in ALIASES.items()}
        capacity = {"carrying_capacity": float(model.carrying_capacity)}
        return Summary({**posterior.mode, **capacity, **named}, posterior)


class BayesianCalibration:
    """The posterior of a patient, `n_samples` draws of it, on a grid coarse enough to be quick.

    The method is importance sampling from the Laplace approximation, whose diagnostics say whether it may be
    trusted for this patient; a `calibrator` of your own, such as `NoUTurnSampler`, replaces it.

    Sampling runs at `resolution_mm` or the model's own voxel edge, whichever is larger; the posterior is then
    attached to the problem on the model's grid, where a twin forecasts. What the coarser grid costs shows in the
    volumes at the calibration visits, and goes into the twin's `volume_noise`.
    """

    def __init__(
        self,
        model: AbstractSpatialModel,
        patient: PatientData,
        n_samples: int = 1000,
        *,
        prior: Prior | None = None,
        resolution_mm: float = 2.0,
        calibrator: AbstractCalibrator | None = None,
        seed: int = 0,
    ):
        self.calibrator = calibrator or ImportanceSampler(draws=n_samples)
        self.seed = seed
        prior = prior or default_prior()
        self.coarse_problem, self.problem = coarse_and_fine(
            lambda model: longitudinal_problem(patient, model, prior), model, resolution_mm
        )

    def run(self) -> Posterior:
        """Calibrate. A posterior that has not converged says so in `diagnostics["verdict"]`."""
        return self.calibrator.fit(self.coarse_problem, key=jax.random.key(self.seed)).attach(self.problem)


def default_prior() -> Prior:
    """conf/prior/glioblastoma.yaml."""
    return load_named("prior", "glioblastoma")
