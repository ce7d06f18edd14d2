"""What the data say about each parameter: by itself, and only together with others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from twinjax.calibration.curvature import residuals_and_jacobian
from twinjax.calibration.filled import filled
from twinjax.calibration.posterior import MOSTLY_PRIOR, Posterior
from twinjax.calibration.prior import Parameter
from twinjax.calibration.problem import InverseProblem
from twinjax.calibration.profile import Profile, profile_likelihood
from twinjax.core.errors import InputError

# A parameter is known in combination only where its variance shrinks by less than the first share, and would by more
# than the second were the others known. Two that are known by their product alone shrink by half each. Our own choices.
LITTLE_BY_ITSELF, MUCH_WITH_OTHERS = 0.6, 0.8
# What a direction weighs less than this (its weights have squares that sum to 1) is no part of its name.
PART_OF_NAME = 0.3
# Exponents within this of 1 are left out of a name.
NEAR_ONE = 0.2
# Two parameters whose draws correlate more trade off against each other.
STRONG_CORRELATION = 0.9


@dataclass(frozen=True, eq=False)
class Direction:
    """An eigenvector of the Fisher information in z, where every parameter has the prior deviation 1.

    **Fields:** `weights` (parameters,) of length 1; `information`, the eigenvalue: the data shrink the variance along
    it by 1 / (1 + information); `name` in the words of its parameters; `members`, the parameters of the name.
    """

    weights: Float[np.ndarray, " parameters"]
    information: float
    name: str
    members: tuple[str, ...]

    @property
    def known(self) -> bool:
        """Whether the data shrink its variance to less than half of the prior's."""
        return 1 / (1 + self.information) < MOSTLY_PRIOR

    @property
    def remaining(self) -> float:
        """Its posterior deviation as a share of the prior's."""
        return float(1 / np.sqrt(1 + self.information))


@dataclass(frozen=True, eq=False)
class Identifiability:
    """**Fields:**

    - `names` of the parameters; `information` (parameters, parameters), Fisher's in z at the mode, of the data alone.
    - `directions`, its eigenvectors, best known first.
    - `contraction`, name to 1 - posterior / prior variance; `with_others`, the same were all other parameters known.
    - `correlation` (parameters, parameters) of the draws; `profiles`, name to its profile likelihood, where asked for.
    """

    names: tuple[str, ...]
    information: Float[np.ndarray, "parameters parameters"]
    directions: tuple[Direction, ...]
    contraction: Mapping[str, float]
    with_others: Mapping[str, float]
    correlation: Float[np.ndarray, "parameters parameters"]
    profiles: Mapping[str, Profile]

    @classmethod
    def of(
        cls,
        parameters: Sequence[Parameter],
        information: Float[np.ndarray, "parameters parameters"],
        z: Float[np.ndarray, "*draws parameters"],
        profiles: Mapping[str, Profile] | None = None,
    ) -> "Identifiability":
        """From the Fisher information and whitened draws."""
        names, flat = tuple(parameter.name for parameter in parameters), z.reshape(-1, z.shape[-1])
        values, vectors = np.linalg.eigh(information)
        directions = [_direction(parameters, vectors[:, i], max(float(values[i]), 0.0)) for i in range(values.size)]
        # A parameter whose draws are all one has no correlation.
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = np.nan_to_num(np.corrcoef(flat.T).reshape(len(names), len(names)))
        return cls(
            names,
            information,
            tuple(reversed(directions)),
            {name: float(1 - flat[:, i].var()) for i, name in enumerate(names)},
            {name: float(1 - 1 / (1 + max(information[i, i], 0.0))) for i, name in enumerate(names)},
            correlation,
            profiles or {},
        )

    def verdict(self, name: str) -> str:
        """`"data"`, `"only in combination"` or `"mostly prior"`."""
        alone = self.contraction[name]
        if alone <= LITTLE_BY_ITSELF and self.with_others[name] > MUCH_WITH_OTHERS and self.combination(name):
            return "only in combination"
        return "data" if alone > 1 - MOSTLY_PRIOR else "mostly prior"

    def combination(self, name: str) -> Direction | None:
        """The known direction of several parameters that holds most of what is known of this one."""
        place = self.names.index(name)
        shared = [d for d in self.directions if d.known and len(d.members) > 1 and name in d.members]
        return max(shared, key=lambda d: d.information * d.weights[place] ** 2, default=None)

    def partner(self, name: str) -> tuple[str, float] | None:
        """The parameter whose draws correlate most with those of `name`, and that correlation."""
        place = self.names.index(name)
        others = [i for i in range(len(self.names)) if i != place]
        if not others:
            return None
        best = max(others, key=lambda i: abs(self.correlation[place, i]))
        return self.names[best], float(self.correlation[place, best])

    @property
    def warnings(self) -> list[str]:
        """What a reader of single parameters must know, in plain words; empty where the data inform each."""
        found, verdicts = [], {name: self.verdict(name) for name in self.names}
        if prior := [name for name in self.names if verdicts[name] == "mostly prior"]:
            found.append(f"The data say next to nothing about {_listed(prior)}: what is reported is mostly the prior.")
        combined: dict[str, list[str]] = {}
        for name in self.names:
            direction = self.combination(name)
            if verdicts[name] == "only in combination" and direction is not None:
                combined.setdefault(direction.name, []).append(name)
        for combination, members in combined.items():
            verb = "is not known by itself" if len(members) == 1 else "are not known one by one"
            found.append(f"{_capital(_listed(members))} {verb}: the data know {combination}, and the prior the rest.")
        for i, one in enumerate(self.names):
            for j, other in enumerate(self.names[:i]):
                r = self.correlation[i, j]
                if abs(r) > STRONG_CORRELATION and verdicts[one] == verdicts[other] == "data":
                    found.append(
                        f"{_capital(_words(other))} and {_words(one)} trade off (r = {r:+.2f}): read their intervals "
                        "together."
                    )
        for name, profile in self.profiles.items():
            lower, upper = profile.interval
            if lower is None or upper is None:
                sides = "on either side" if lower is upper else "from below" if lower is None else "from above"
                found.append(f"The data alone do not bound {_words(name)} {sides}: its profile likelihood stays open.")
        return found

    def rows(self) -> list[dict[str, Any]]:
        """One row per parameter for tables and CSV."""
        rows = []
        for name in self.names:
            partner, combination = self.partner(name), self.combination(name)
            row: dict[str, Any] = {
                "parameter": name,
                "informed_by": self.verdict(name),
                "contraction": self.contraction[name],
                "contraction_if_others_were_known": self.with_others[name],
                "known_combination": None if combination is None else combination.name,
                "most_correlated_with": None if partner is None else partner[0],
                "correlation": None if partner is None else partner[1],
            }
            if self.profiles:
                row["profile_lower_95"], row["profile_upper_95"] = self.profiles[name].interval
            rows.append(row)
        return rows


def identify(posterior: Posterior, *, profile: bool = False) -> Identifiability:
    """What the data say about each parameter of a posterior.

    One expansion at the mode gives the Fisher information, which the calibration has compiled already; `profile` adds
    the profile likelihood of every parameter, some twenty small fits each. Do it on the grid of the fit, before
    `Posterior.attach`. Fields are left as they are at the mode: what is said is said of the other parameters. Raises
    `InputError` for a posterior without its problem.
    """
    problem = posterior.problem
    if problem is None:
        raise InputError("identify: a posterior read from a file has to be attached to its problem first")
    alone = [parameter for parameter in problem.prior.parameters if parameter.name not in problem.prior.fields]
    place = np.array([problem.prior.blocks[parameter.name].start for parameter in alone], int)
    profiles = {p.name: profile_likelihood(posterior, p.name) for p in alone} if profile else {}
    information = fisher_information(problem, posterior.z_map, place)
    return Identifiability.of(alone, information, posterior.z[..., place], profiles)


def fisher_information(problem: InverseProblem, z, place=None) -> Float[np.ndarray, "some some"]:
    """JᵀJ of the whitened residuals of the data at `z`: Fisher's information in z, as noise is normal.

    `place`: the entries of z that it is of, the others as they are; by default all. What noise levels that are among
    the parameters learn from the data is not in it.
    """
    axes = np.eye(problem.dimension) if place is None else np.eye(problem.dimension)[place]
    shared = filled(problem).problem
    _, jacobian, _ = residuals_and_jacobian(shared, jnp.asarray(z, float), jnp.asarray(axes))
    rows = np.asarray(jacobian).astype(float)
    if not np.isfinite(rows).all():
        raise InputError("the Fisher information cannot be computed: the forward solve fails at the mode")
    # The residuals of the prior are z itself.
    return rows @ rows.T - np.eye(len(axes))


def _direction(parameters: Sequence[Parameter], weights: np.ndarray, information: float) -> Direction:
    members = [i for i in np.argsort(-np.abs(weights)) if abs(weights[i]) >= PART_OF_NAME]
    weights = weights * np.sign(weights[members[0]])
    names = tuple(parameters[i].name for i in members)
    logs = all(isinstance(parameters[i].distribution, dist.LogNormal) for i in members)
    if len(members) == 1:
        name = _words(names[0])
    elif logs:
        # In z a log-normal parameter is its logarithm over sigma: a sum of these is a product of powers.
        powers = [float(weights[i] / np.asarray(parameters[i].distribution.scale)) for i in members]
        name = _product([_words(one) for one in names], [power / powers[0] for power in powers])
    else:
        parts = [f"{weights[i]:+.1f} {_words(parameters[i].name)}" for i in members]
        name = f"the sum {' '.join(parts)} (in prior deviations)".replace("-", "−")
    return Direction(weights, information, name, names)


def _product(names: list[str], powers: list[float]) -> str:
    """`diffusivity × proliferation rate / alpha^0.5`."""
    text = names[0]
    for name, power in zip(names[1:], powers[1:], strict=True):
        size = "" if abs(abs(power) - 1) < NEAR_ONE else f"^{abs(power):.2g}"
        text += f" {'×' if power > 0 else '/'} {name}{size}"
    return text


def _words(name: str) -> str:
    return name.replace("_", " ")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(names: list[str]) -> str:
    words = [_words(name) for name in names]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
