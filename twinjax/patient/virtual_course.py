"""Virtual patients without images: a model with known parameters, measured with noise. All of it is synthetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from twinjax.core.errors import InputError
from twinjax.model import AbstractTumorModel
from twinjax.patient.clinical_course import ClinicalCourse
from twinjax.simulation import simulate
from twinjax.treatment import Regimen

# The truth is solved far more accurately than a fit asks for.
TRUTH_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class VirtualCourse:
    """The truth about a patient, from which measurements follow; equal settings give equal patients.

    **Fields:**

    - `patient_id`, `seed` (of the noise).
    - `model` with its true parameters; `size` at day 0, in the model's unit.
    - `regimen`: treatments with the patient's true sensitivities, in days since baseline.
    - `schedule`: quantity of the model to the days on which it is measured.
    - `noise`: quantity to the standard deviation of the logarithm of its measurement.
    - `truth`: name of a parameter of the prior to its true value, for scoring.
    - `solver`: for stiff models; an adaptive explicit method unless given.

    Raises `InputError` where `schedule` and `noise` do not name the same quantities.
    """

    patient_id: str
    model: AbstractTumorModel
    size: float
    schedule: Mapping[str, Sequence[float]]
    noise: Mapping[str, float]
    regimen: Regimen = field(default_factory=Regimen)
    seed: int = 0
    truth: Mapping[str, float] = field(default_factory=dict)
    solver: diffrax.AbstractSolver | None = None

    def __post_init__(self):
        if set(self.schedule) != set(self.noise) or not self.schedule:
            raise InputError(
                f"schedule names {', '.join(self.schedule) or 'nothing'}, noise {', '.join(self.noise) or 'nothing'}; "
                "both must name the measured quantities"
            )
        if not (np.isfinite(self.size) and self.size > 0):
            raise InputError(f"size must be a positive number, got {self.size}")

    @property
    def visit_days(self) -> list[float]:
        """All days with a measurement."""
        return np.unique(np.concatenate([np.asarray(days, float) for days in self.schedule.values()])).tolist()

    def generate(self) -> ClinicalCourse:
        """The patient's measurements.

        Raises `InputError` for a quantity that the model does not predict, `SolverError` where it cannot be solved.
        """
        true = self.true_quantities(self.visit_days)
        rng, position, measured = np.random.default_rng(self.seed), {d: i for i, d in enumerate(self.visit_days)}, {}
        for name, days in self.schedule.items():
            if name not in true:
                raise InputError(f"schedule: the model does not predict '{name}'; it predicts {', '.join(true)}")
            values = true[name][[position[float(day)] for day in days]]
            measured[name] = (days, values * np.exp(rng.normal(0, self.noise[name], len(days))))
        return ClinicalCourse(self.patient_id, measured, self.regimen, source="synthetic", truth=self.truth)

    def true_quantities(self, days: Sequence[float]) -> dict[str, np.ndarray]:
        """Quantity to (T,) its true values at ascending `days`."""
        trajectory = simulate(
            self.model,
            self.regimen,
            self.model.initial_state(jnp.asarray(self.size, float)),
            days,
            solver=self.solver,
            stepsize_controller=diffrax.PIDController(rtol=TRUTH_TOLERANCE, atol=TRUTH_TOLERANCE),
        )
        quantities = jax.vmap(self.model.quantities)(trajectory.require_success().states)
        return {name: np.asarray(values) for name, values in quantities.items()}
