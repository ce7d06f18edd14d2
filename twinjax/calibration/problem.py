"""`InverseProblem`: one definition of the misfit for every calibration method."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from twinjax.calibration.field import CosineField
from twinjax.calibration.prior import Prior
from twinjax.calibration.tumor import Box, Tumor, edge_density, placed_prior
from twinjax.core.errors import InputError
from twinjax.model import AbstractInitialCondition, AbstractSpatialModel, AbstractTumorModel
from twinjax.observation import AbstractObservation
from twinjax.simulation import Trajectory, simulate
from twinjax.treatment import Regimen


class Datum(eqx.Module):
    """What one observation gave on one day.

    **Fields:** `day` (static), `observation` (its name in `Tumor.observation`, static), `values` (n,), `index` (n,)
    into the flattened prediction, or None where the prediction is a scalar and n = 1.
    """

    values: Float[Array, " n"]
    index: Int[Array, " n"] | None
    day: float = eqx.field(static=True)
    observation: str = eqx.field(static=True)

    def __init__(self, day: float, observation: str, values, index=None):
        self.day, self.observation = float(day), observation
        self.values = jnp.atleast_1d(jnp.asarray(values, float))
        self.index = None if index is None else jnp.asarray(index)
        if self.values.size == 0:
            raise InputError(f"day {day}: no '{observation}' data are left after masking")
        if not bool(jnp.isfinite(self.values).all()):
            raise InputError(f"day {day}: the '{observation}' data have NaN or infinite values")

    def pick(self, prediction: Array) -> Array:
        """(n,) the predicted values of these data."""
        return jnp.atleast_1d(prediction) if self.index is None else prediction.ravel()[self.index]


class InverseProblem(eqx.Module):
    """Which parameters explain the data? In whitened coordinates z, whose prior is standard normal.

    **Fields:** `whole`, the tumour on the grid of the model; `tumor`, the same on the `box` that is solved;
    `data`, indexed in that box; `prior`; `forecast_prior`, the same parameters and after them those of treatments that
    the patient has not had yet, about which the data say nothing; `solver` and `max_step` (days) of `simulate`;
    `start`, the day on which the initial condition holds.
    """

    whole: Tumor
    tumor: Tumor
    data: tuple[Datum, ...]
    prior: Prior = eqx.field(static=True)
    forecast_prior: Prior = eqx.field(static=True)
    solver: diffrax.AbstractSolver | None
    start: float = eqx.field(static=True)
    max_step: float = eqx.field(static=True)
    box: Box | None = eqx.field(static=True)

    def __init__(
        self,
        model: AbstractTumorModel,
        regimen: Regimen,
        initial: AbstractInitialCondition,
        observations: Mapping[str, AbstractObservation],
        data: Sequence[Datum],
        prior: Prior,
        *,
        forecast_prior: Prior | None = None,
        solver: diffrax.AbstractSolver | None = None,
        start: float = 0.0,
        max_step: float = 1.0,
        box: Box | None = None,
    ):
        """All on the grid of `model.domain`, if it has one; only `box` of it, `(lower, upper)` voxels, is solved."""
        placed = regimen.on(model.domain) if isinstance(model, AbstractSpatialModel) else regimen
        self.whole = Tumor(model, placed, initial, dict(observations))
        self.tumor = self.whole if box is None else self.whole.cropped(box)
        self.data = tuple(sorted((_in_box(datum, box, model) for datum in data), key=lambda datum: datum.day))
        prior = placed_prior(prior, self.tumor)
        self.forecast_prior = prior if forecast_prior is None else forecast_prior.with_fields(prior.places)
        self.solver, self.prior, self.start, self.max_step, self.box = solver, prior, float(start), float(max_step), box
        if not self.data:
            raise InputError("there are no data to calibrate to")
        for datum in self.data:
            if datum.observation not in observations:
                raise InputError(f"there is no observation '{datum.observation}'; known: {', '.join(observations)}")
            if datum.day < start:
                raise InputError(f"data of day {datum.day:g} lie before the start of the model, day {start:g}")
        if self.forecast_prior.names[: len(prior.names)] != prior.names:
            raise InputError("forecast_prior must begin with the parameters of prior, in their order")
        for parameter in prior.parameters:
            for path in parameter.where:
                if not self.tumor.leaves_at(path):
                    raise InputError(
                        f"prior of {parameter.name}: '{path}' names a treatment or observation that this patient "
                        "does not have; leave it out"
                    )

    @property
    def dimension(self) -> int:
        """How many entries z has."""
        return self.prior.size

    @property
    def days(self) -> np.ndarray:
        """The days of the data, each once, ascending."""
        return np.unique([datum.day for datum in self.data])

    def tumor_at(self, z: Float[Array, " parameters"]) -> Tumor:
        """The tumour with the parameters of `z` in place."""
        return self.tumor.with_parameters(self.prior, z)

    def edge_density(self, z) -> Array:
        """The largest density that `z` brings to a face of the box within the data's days; 0 without a box."""
        if self.box is None:
            return jnp.zeros(())
        model = self.whole.model
        assert isinstance(model, AbstractSpatialModel)
        density = jax.vmap(model.cell_density)(self.simulate(z).states)
        return edge_density(density, self.box, model.domain.shape)

    def simulate(self, z, *, adjoint: diffrax.AbstractAdjoint | None = None) -> Trajectory:
        """The trajectory at the days of the data (each day once)."""
        tumor = self.tumor_at(z)
        return simulate(
            tumor.model,
            tumor.regimen,
            tumor.state0(),
            self.days,
            solver=self.solver,
            start=self.start,
            max_step=self.max_step,
            adjoint=adjoint,
        )

    def predictions(self, z, *, adjoint=None) -> tuple[list[dist.Normal], Array]:
        """The distribution of each datum given `z`, and whether the solve succeeded; if not, that of no tumour."""
        tumor = self.tumor_at(z)
        trajectory = self.simulate(z, adjoint=adjoint)
        position = {day: i for i, day in enumerate(self.days.tolist())}
        states = jax.tree.map(lambda leaf: jnp.where(trajectory.success, leaf, 0.0), trajectory.states)
        expected = []
        for datum in self.data:
            state = jax.tree.map(lambda leaf, i=position[datum.day]: leaf[i], states)
            observation = tumor.observation[datum.observation]
            expected.append(observation.noise(datum.pick(observation.predict(tumor.model, state))))
        return expected, trajectory.success

    def residuals(self, z, *, adjoint: diffrax.AbstractAdjoint | None = None) -> Float[Array, " residuals"]:
        """Whitened residuals: (data - prediction) / deviation for every datum, then z for the prior.

        Half their sum of squares is the negative log posterior up to a constant, as long as no noise level is
        among the parameters. A failed solve gives NaN, which optimisers take as a step to refuse.
        """
        expected, success = self.predictions(z, adjoint=adjoint)
        parts = [_standardized(datum, e) for datum, e in zip(self.data, expected, strict=True)]
        return jnp.concatenate([jnp.where(success, part, jnp.nan) for part in parts] + [z])

    def log_density(self, z, *, adjoint: diffrax.AbstractAdjoint | None = None) -> Float[Array, ""]:
        """Log posterior density of z, up to the evidence; minus infinity where the solve fails."""
        expected, success = self.predictions(z, adjoint=adjoint)
        fit = sum(e.log_prob(datum.values).sum() for datum, e in zip(self.data, expected, strict=True))
        return jnp.where(success & jnp.isfinite(fit), fit, -jnp.inf) + dist.Normal().log_prob(z).sum()

    def with_fields(self, places: Mapping[str, CosineField]) -> "InverseProblem":
        """The same problem with its fields in these coordinates: those of a fit on another grid."""
        if not places:
            return self
        # Static fields are no leaves, so that `eqx.tree_at` does not reach them.
        other = copy.copy(self)
        object.__setattr__(other, "prior", self.prior.with_fields(places))
        object.__setattr__(other, "forecast_prior", self.forecast_prior.with_fields(places))
        return other

    def numpyro_model(self, center=None, scale=None):
        """For `numpyro.infer`: unknown `xi` with z = center + scale xi, and each parameter in its own unit.

        With `center` the posterior mode and `scale` the Cholesky factor of its Laplace covariance the posterior
        of `xi` is near standard normal, so that a sampler needs no adaptation of its mass matrix.
        """
        n = self.dimension
        center = jnp.zeros(n) if center is None else center
        scale = jnp.eye(n) if scale is None else scale
        xi = numpyro.sample("xi", dist.ImproperUniform(dist.constraints.real_vector, (), (n,)))
        z = center + scale @ xi
        numpyro.factor("log_density", self.log_density(z))
        numpyro.deterministic("z", z)
        for name, value in self.prior.values(z).items():
            numpyro.deterministic(name, value)

    def with_noise_from_residuals(self, z) -> "InverseProblem":
        """The same problem with each noise level raised to what the residuals at `z` show.

        An observation whose residuals are larger than its noise says that the model is wrong by that much.
        Raising the level (it is never lowered) is the plainest model-error term, and keeps intervals honest.
        """
        expected, _ = self.predictions(z)
        squares: dict[str, list[np.ndarray]] = {}
        for datum, e in zip(self.data, expected, strict=True):
            # In units of the stated noise of one voxel, not of the tempered one.
            error = np.asarray(_standardized(datum, e)) ** 2
            tempering = getattr(self.tumor.observation[datum.observation], "voxels_per_datum", 1.0)
            squares.setdefault(datum.observation, []).append(error * tempering)
        observation = dict(self.tumor.observation)
        for name, parts in squares.items():
            factor = max(1.0, float(np.sqrt(np.mean(np.concatenate(parts)))))
            observation[name] = eqx.tree_at(
                lambda o: o.noise_std, observation[name], observation[name].noise_std * factor
            )
        return eqx.tree_at(lambda problem: problem.tumor.observation, self, observation)


def coarse_and_fine(
    problem_of: Callable[[Any], InverseProblem], model: AbstractSpatialModel, resolution_mm: float
) -> tuple[InverseProblem, InverseProblem]:
    """The problem to fit, on a grid of `resolution_mm`, and the one on the model's own grid, where a twin forecasts.

    `problem_of` makes the problem of a model on any grid; a model coarser than `resolution_mm` keeps its grid. Fit
    the first and `Posterior.attach` the second. What the coarse grid costs shows in the volumes at the calibration
    visits, and goes into the twin's `volume_noise`.
    """
    edge = max(resolution_mm, *model.domain.spacing)
    return problem_of(model.on(model.domain.resampled(edge))), problem_of(model)


def _standardized(datum: Datum, expected: dist.Normal) -> Float[Array, " n"]:
    return (datum.values - jnp.asarray(expected.loc)) / jnp.asarray(expected.scale)


def _in_box(datum: Datum, box: Box | None, model: AbstractTumorModel) -> Datum:
    """The datum with its voxel index counted in the box."""
    if box is None or datum.index is None:
        return datum
    assert isinstance(model, AbstractSpatialModel)
    lower, upper = (np.asarray(corner)[:, None] for corner in box)
    index = np.stack(np.unravel_index(np.asarray(datum.index), model.domain.shape))
    if (index < lower).any() or (index >= upper).any():
        raise InputError(f"day {datum.day:g}: '{datum.observation}' data lie outside the box {box}; enlarge it")
    inside = np.ravel_multi_index(tuple(index - lower), tuple((upper - lower)[:, 0]))
    return Datum(datum.day, datum.observation, datum.values, inside)
