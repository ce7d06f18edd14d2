"""`InverseProblem`: one definition of the misfit for every calibration method."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeGuard

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, ArrayLike, Float

from twinjax.calibration.datum import Datum
from twinjax.calibration.field import CosineField
from twinjax.calibration.prior import Prior
from twinjax.calibration.tumor import Box, Tumor, each_by_itself, edge_density, placed_prior
from twinjax.calibration.walk import likeliest_scatter, walking_terms
from twinjax.core.errors import InputError
from twinjax.core.products import product
from twinjax.model import AbstractInitialCondition, AbstractSpatialModel, AbstractTumorModel
from twinjax.observation import AbstractObservation, QuantityObservation
from twinjax.simulation import Trajectory, simulate
from twinjax.treatment import Regimen


class InverseProblem(eqx.Module):
    """Which parameters explain the data? In whitened coordinates z, whose prior is standard normal.

    **Fields:** `whole`, the tumour on the grid of the model; `tumor`, the same on the `box` that is solved;
    `data`, indexed in that box; `prior`; `forecast_prior`, the same parameters and after them those of treatments that
    the patient has not had yet, about which the data say nothing; `solver` and `max_step` (days) of `simulate`;
    `start`, the day on which the initial condition holds; `times` (T,), the days of the data, each once, ascending, and
    `visits`, which of them each datum is of (None where days may stand twice: that of its time).
    """

    whole: Tumor
    tumor: Tumor
    data: tuple[Datum, ...]
    prior: Prior = eqx.field(static=True)
    forecast_prior: Prior = eqx.field(static=True)
    solver: diffrax.AbstractSolver | None
    start: Float[Array, ""]
    times: Float[Array, " times"]
    visits: tuple[int, ...] | None = eqx.field(static=True)
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
        boxed = tuple(sorted((datum.in_box(box, model) for datum in data), key=lambda datum: datum.day))
        prior = placed_prior(each_by_itself(prior, self.tumor), self.tumor)
        later = prior if forecast_prior is None else each_by_itself(forecast_prior, self.tumor)
        self.forecast_prior = later.with_fields(prior.places)
        self.solver, self.prior, self.max_step, self.box = solver, prior, float(max_step), box
        days, visits = np.unique([datum.day for datum in boxed], return_inverse=True)
        self.start, self.times, self.visits = jnp.asarray(start, float), jnp.asarray(days), tuple(visits.tolist())
        if not boxed:
            raise InputError("there are no data to calibrate to")
        for datum in boxed:
            if datum.observation not in observations:
                raise InputError(f"there is no observation '{datum.observation}'; known: {', '.join(observations)}")
            if datum.day < start:
                raise InputError(f"data of day {datum.day:g} lie before the start of the model, day {start:g}")
        if self.forecast_prior.names[: len(prior.names)] != prior.names:
            raise InputError("forecast_prior must begin with the parameters of prior, in their order")
        self.data = tuple(datum.prepared(self.tumor) for datum in boxed)
        set_by: dict[str, str] = {}
        for parameter in prior.parameters:
            for path in parameter.where:
                if other := set_by.get(path):
                    raise InputError(
                        f"prior: {other} and {parameter.name} both set '{path}'; give a parameter one prior"
                    )
                set_by[path] = parameter.name
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
        """The days of the data, each once, ascending; not for traced problems."""
        return np.asarray(self.times)

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
            self.times,
            solver=self.solver,
            start=self.start,
            max_step=self.max_step,
            adjoint=adjoint,
        )

    def predictions(self, z, *, adjoint=None) -> tuple[list[Array], Array]:
        """What each datum is expected to be given `z`, (n,) on the scale of its observation's `predict`.

        And whether the solve succeeded; if not, the predictions are those of no tumour.
        """
        trajectory = self.simulate(z, adjoint=adjoint)
        states = jax.tree.map(lambda leaf: jnp.where(trajectory.success, leaf, 0.0), trajectory.states)
        return self.seen(self.tumor_at(z), states), trajectory.success

    def seen(self, tumor: Tumor, states) -> list[Array]:
        """What each datum is expected to be of a tumour with these states at `times`, wherever they come from."""
        # All days of an observation at once: day by day each would be compiled by itself.
        shown = {
            name: jax.vmap(partial(observation.predict, tumor.model))(states)
            for name, observation in tumor.observation.items()
        }
        visits = self.visits or [jnp.searchsorted(self.times, datum.time) for datum in self.data]
        return [datum.pick(shown[datum.observation][visit]) for datum, visit in zip(self.data, visits, strict=True)]

    def residuals(self, z, *, adjoint: diffrax.AbstractAdjoint | None = None) -> Float[Array, " residuals"]:
        """Whitened residuals of every datum (`AbstractObservation.residuals`), then z for the prior.

        Half their sum of squares is the negative log posterior up to a constant. For each datum with a noise level
        among the parameters one residual more keeps that so: it stands for the log likelihood's normalisation. A
        failed solve gives NaN, which optimisers take as a step to refuse.
        """
        return self.residuals_of(z, *self.predictions(z, adjoint=adjoint))

    def residuals_of(self, z, expected: Sequence[Array], success: ArrayLike = True) -> Float[Array, " residuals"]:
        """`residuals` where the data are expected to be `expected` (`predictions`)."""
        terms, parts = self._terms(self.tumor_at(z).observation, expected), []
        levels = any(self.levels_of_prior(name) for name in self.tumor.observation)
        stated = self._terms(self.tumor.observation, expected) if levels else terms
        for datum, (residuals, normalizer), (_, usual) in zip(self.data, terms, stated, strict=True):
            parts.append(residuals)
            if self.levels_of_prior(datum.observation):
                # The size of the data keeps it positive, down to a third of the stated level.
                excess = datum.values.size + usual - normalizer
                parts.append(jnp.sqrt(2 * jnp.maximum(excess, 1e-6))[None])
        return jnp.concatenate([jnp.where(success, part, jnp.nan) for part in parts] + [z])

    @property
    def least_cost(self) -> Float[Array, ""]:
        """What half the sum of squares of `residuals` and minus `log_density` differ by, which no z changes."""
        found = -dist.Normal().log_prob(jnp.zeros(self.dimension)).sum()
        # Normalisations do not depend on what is expected.
        terms = self._terms(self.tumor.observation, [datum.values for datum in self.data])
        for datum, (_, normalizer) in zip(self.data, terms, strict=True):
            found -= normalizer
            found -= datum.values.size if self.levels_of_prior(datum.observation) else 0.0
        return found

    def log_likelihoods(self, z, *, adjoint: diffrax.AbstractAdjoint | None = None) -> Float[Array, " data"]:
        """Log likelihood of each of `data` (a day of an observation); minus infinity where the solve fails."""
        expected, success = self.predictions(z, adjoint=adjoint)
        terms = self._terms(self.tumor_at(z).observation, expected)
        found = [normalizer - 0.5 * jnp.sum(residuals**2) for residuals, normalizer in terms]
        return jnp.where(success, jnp.stack(found), -jnp.inf)

    def _terms(self, observation: Mapping[str, AbstractObservation], expected) -> list[tuple[Array, Array]]:
        """Of each datum its residuals and the log likelihood's normalisation: one place for both sums."""
        terms: list[Any] = [None] * len(self.data)
        for name, one in observation.items():
            own = [place for place, datum in enumerate(self.data) if datum.observation == name]
            data, means = [self.data[place] for place in own], [expected[place] for place in own]
            if own and walks(one):
                found = walking_terms(one, data, means, self.start)
            else:
                found = [
                    (one.residuals(datum.readings, e), one.log_normalizer(datum.readings))
                    for datum, e in zip(data, means, strict=True)
                ]
            for place, term in zip(own, found, strict=True):
                terms[place] = term
        return terms

    def log_density(self, z, *, adjoint: diffrax.AbstractAdjoint | None = None) -> Float[Array, ""]:
        """Log posterior density of z, up to the evidence; minus infinity where the solve fails."""
        fit = jnp.sum(self.log_likelihoods(z, adjoint=adjoint))
        return jnp.where(jnp.isfinite(fit), fit, -jnp.inf) + dist.Normal().log_prob(z).sum()

    def with_fields(self, places: Mapping[str, CosineField]) -> "InverseProblem":
        """The same problem with its fields in these coordinates: those of a fit on another grid."""
        if not places:
            return self
        # Static fields are no leaves, so that `eqx.tree_at` does not reach them.
        other = copy.copy(self)
        object.__setattr__(other, "prior", self.prior.with_fields(places))
        object.__setattr__(other, "forecast_prior", self.forecast_prior.with_fields(places))
        return other

    def without_data(self) -> "InverseProblem":
        """Solver, start and parameters, all that a forecast needs of it: patients with other data share programs so."""
        other = copy.copy(self)
        nothing = {"whole": None, "tumor": None, "data": (), "times": None, "visits": None, "box": None}
        for name, value in nothing.items():
            object.__setattr__(other, name, value)
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
        z = center + product(scale, xi)
        numpyro.factor("log_density", self.log_density(z))
        numpyro.deterministic("z", z)
        for name, value in self.prior.values(z).items():
            numpyro.deterministic(name, value)

    def with_noise_from_residuals(self, z, expected: Sequence[ArrayLike] | None = None) -> "InverseProblem":
        """The same problem with the noise levels of largest likelihood at `z`, none below what was stated.

        `expected`: the `predictions` at z, where they are known.

        A field's discrepancy, the vagueness of a mask's boundary and the scatter of a value are so learned from how
        far the model is from the data. Stated levels are published or measured: below them the data cannot say more,
        as a fit draws the model towards its data. Levels among the parameters of the prior are left to it.
        """
        expected = _predicted(self, z) if expected is None else expected
        levels = {}
        for name, observation in self.tumor.observation.items():
            own = [(d, e) for d, e in zip(self.data, expected, strict=True) if d.observation == name]
            if own:
                data, means = zip(*own, strict=True)
                if walks(observation):
                    found = likeliest_scatter(observation, data, means, self.start)
                else:
                    found = observation.likeliest_levels([datum.readings for datum in data], means)
                levels[name] = found | {key: self.noise[name][key] for key in self.levels_of_prior(name)}
        return self.with_noise(self.noise | levels)

    @property
    def noise(self) -> dict[str, dict[str, float]]:
        """Observation to its noise levels (`AbstractObservation.levels`)."""
        return {
            name: {level: float(getattr(observation, level)) for level in observation.levels}
            for name, observation in self.tumor.observation.items()
        }

    def with_noise(self, noise: Mapping[str, Mapping[str, float]]) -> "InverseProblem":
        """The same problem with other noise levels, for the fit and for forecasts of what will be measured."""

        def noisy(tumor: Tumor) -> dict[str, AbstractObservation]:
            return {name: one.with_levels(dict(noise[name])) for name, one in tumor.observation.items()}

        # Forecasts are made of the whole grid, fits of the box.
        return eqx.tree_at(
            lambda problem: (problem.whole.observation, problem.tumor.observation),
            self,
            (noisy(self.whole), noisy(self.tumor)),
        )

    def levels_of_prior(self, observation: str) -> list[str]:
        """Those levels of an observation that are parameters."""
        where = {path for parameter in self.prior.parameters for path in parameter.where}
        levels = self.tumor.observation[observation].levels
        return [level for level in levels if f"observation.{observation}.{level}" in where]

    @property
    def effective_data(self) -> float:
        """How many independent data there are, at most: voxels that err together are few."""
        return sum(self.tumor.observation[d.observation].effective_count(d.readings) for d in self.data)

    @property
    def warnings(self) -> list[str]:
        """What is to be known of any posterior of this problem, in plain words."""
        count, unknown = self.effective_data, self.dimension
        if count >= unknown:
            return []
        return [
            f"{count:.0f} independent data for {unknown} unknowns: the prior decides the rest; "
            "give more data, or fewer parameters"
        ]

    def failure_at(self, z, where: str) -> InputError:
        """Why there is no posterior density at `z`; `where` says in words what z is."""
        likelihoods = np.asarray(_log_likelihoods(self, z))
        if np.isneginf(likelihoods).all():
            return InputError(f"the forward solve fails {where} and the initial tumour")
        for datum, found in zip(self.data, likelihoods, strict=True):
            if not np.isfinite(found):
                return InputError(
                    f"day {datum.day:g}: the '{datum.observation}' data have the log likelihood {found} {where}, "
                    "and these data"
                )
        return InputError(f"the derivative of the forward solve is not finite {where} and the initial tumour")


def walks(observation: AbstractObservation) -> TypeGuard[QuantityObservation]:
    """Whether the model's error of what is observed walks."""
    return isinstance(observation, QuantityObservation) and observation.walk_std > 0


@eqx.filter_jit
def _predicted(problem: InverseProblem, z) -> list[Array]:
    return problem.predictions(z)[0]


@eqx.filter_jit
def _log_likelihoods(problem: InverseProblem, z) -> Array:
    return problem.log_likelihoods(z)


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
