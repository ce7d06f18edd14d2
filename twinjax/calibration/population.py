"""How patients differ: a hierarchical model of a cohort."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from twinjax.calibration.cohort import Cohort
from twinjax.calibration.prior import Prior
from twinjax.calibration.residual import AbstractResidual, IndependentResidual
from twinjax.calibration.tumor import Tumor
from twinjax.core.errors import InputError
from twinjax.model import AbstractClosedFormModel, AbstractLumpedModel, InitialSize
from twinjax.observation import QuantityObservation
from twinjax.simulation import simulate

# Patients differ by at least this much in ln(parameter): less could not be told, and would leave few points effective.
NARROWEST = 0.1


class Points(eqx.Module):
    """Values of theta for every patient, with what they say.

    **Fields:** `theta` (patients, points, parameters); `log_likelihood`, `log_density` (patients, points): of the
    patient's readings there, and of the distribution that the points were drawn from.
    """

    theta: Float[Array, "patients points parameters"]
    log_likelihood: Float[Array, "patients points"]
    log_density: Float[Array, "patients points"]


class PopulationModel(eqx.Module):
    """Readings of a cohort under one tumour model whose parameters differ from patient to patient.

        ln theta_ip = m_p + s_p z_ip,  z_ip ~ N(0, 1);   ln(y_ij + offset) = ln(q(theta_i, t_ij) + offset) + error

    The last of theta_i is the scale of the patient's errors. `prior` gives the distribution of each population median
    exp(m_p), and must be log-normal; the between-patient deviation s_p is half-normal with scale `largest_spread`. A
    patient starts from the first reading, unless `initial.ratio` is among the parameters.

    **Fields:** `cohort`; `model`, whose size is the measured quantity; `observation`, with the quantity, the offset
    and, as `noise_std`, the middle of the prior of the scale of errors (a factor of e up or down); `prior` (static);
    `residual`; `largest_spread`; `reading_error`, the deviation of reading in the unit of the quantity.
    """

    cohort: Cohort
    model: AbstractLumpedModel
    observation: QuantityObservation
    prior: Prior = eqx.field(static=True)
    residual: AbstractResidual
    largest_spread: float
    reading_error: float

    def __init__(
        self,
        cohort: Cohort,
        model: AbstractLumpedModel,
        observation: QuantityObservation,
        prior: Prior,
        *,
        residual: AbstractResidual | None = None,
        largest_spread: float = 1.0,
        reading_error: float = 0.0,
    ):
        for parameter in prior.parameters:
            if not isinstance(parameter.distribution, dist.LogNormal):
                raise InputError(f"prior of {parameter.name}: a population needs [lognormal, median, sigma]")
        self.cohort, self.model, self.observation, self.prior = cohort, model, observation, prior
        self.residual = IndependentResidual() if residual is None else residual
        self.largest_spread, self.reading_error = float(largest_spread), float(reading_error)

    @property
    def names(self) -> tuple[str, ...]:
        """Of what differs between patients."""
        return (*self.prior.names, "error_scale")

    @property
    def hyperprior(self) -> tuple[Array, Array]:
        """Mean and deviation of each m_p."""
        laws: list[Any] = [parameter.distribution for parameter in self.prior.parameters]
        means = [jnp.asarray(law.loc) for law in laws] + [jnp.log(self.observation.noise_std)]
        return jnp.stack(means), jnp.stack([*(jnp.asarray(law.scale) for law in laws), jnp.ones(())])

    def curves(self, theta, days) -> Float[Array, "patients times"]:
        """Every patient's quantity at `days` (patients, times; ascending), on the scale of the observation."""
        plain = self.prior.replaced({name: ("lognormal", 1.0, 1.0) for name in self.prior.names})

        def one(logs, size, regimen, start, days):
            tumor = Tumor(self.model, regimen, InitialSize(size), {}).with_parameters(plain, logs)
            if isinstance(tumor.model, AbstractClosedFormModel) and not regimen.treatments:
                states = jax.vmap(tumor.model.untreated, (None, 0))(tumor.state0(), days - start)
            else:
                states = simulate(tumor.model, regimen, tumor.state0(), days, start=start).states
            return jax.vmap(lambda state: self.observation.predict(tumor.model, state))(states)

        cohort = self.cohort
        return eqx.filter_vmap(one)(theta, cohort.values[:, 0], cohort.regimen, cohort.days[:, 0], days)

    def errors(self, theta) -> Float[Array, "patients readings"]:
        """Measured minus curve, for one `theta` (patients, parameters) of each patient."""
        return self.observation.transform(self.cohort.values) - self.curves(theta, self.cohort.days)

    def log_likelihood(self, theta: Float[Array, "patients parameters"]) -> Float[Array, " patients"]:
        """Of each patient's readings; minus infinity where the curve is not finite."""
        cohort = self.cohort
        variance = (self.reading_error / (cohort.values + self.observation.offset)) ** 2
        found = jax.vmap(self.residual.log_likelihood)(
            self.errors(theta), cohort.days, cohort.given, variance, jnp.exp(theta[:, -1])
        )
        return jnp.where(jnp.isfinite(found), found, -jnp.inf)

    def log_density(self, points: Points, x: Float[Array, " unknowns"]) -> Array:
        """Log posterior of the population at x (see `unpacked`), patients integrated out over their `points`."""
        center, spread = unpacked(x)
        prior = dist.Normal().log_prob(center).sum() + dist.HalfNormal(self.largest_spread).log_prob(spread).sum()
        # The last sum is of the change of variable from spread to its logarithm.
        return self.log_marginal(points, x) + prior + jnp.sum(jnp.log(spread - NARROWEST))

    def log_marginal(self, points: Points, x: Float[Array, " unknowns"]) -> Array:
        """Log likelihood of all readings under the population at x."""
        log_weights = self.log_weights(points, *unpacked(x))
        return jnp.sum(logsumexp(log_weights, axis=1) - jnp.log(log_weights.shape[1]))

    def log_weights(self, points: Points, center, spread) -> Float[Array, "patients points"]:
        """Logarithm of each point's importance, not normalised."""
        middle, width = self.hyperprior
        population = dist.Normal(middle + width * center, spread).log_prob(points.theta).sum(axis=-1)
        return points.log_likelihood + population - points.log_density


def unpacked(x: Float[Array, " unknowns"]) -> tuple[Array, Array]:
    """`center` and `spread` from a population's unknowns: `center` itself, and ln(spread - NARROWEST)."""
    center, log_spread = jnp.split(x, 2)
    return center, NARROWEST + jnp.exp(log_spread)
