"""Surgical resection: the cavity loses its cells and becomes a zero-flux hole."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.treatment.treatment import AbstractImpulsiveTreatment, check_doses, later


class Resection(AbstractImpulsiveTreatment):
    """At `times[0]` the cells inside `cavity` are removed; from then on nothing moves through its wall.

    **Fields:** `times` (one day), `cavity` (bool, on the grid of `affine`), `affine` ((4, 4), mm). `on(domain)`
    brings the cavity onto a solver's grid; `Regimen.on` does so for a whole regimen.
    """

    times: Float[Array, " doses"]
    cavity: Bool[Array, "*grid"]
    affine: np.ndarray | None

    def __init__(self, time, cavity, affine=None):
        self.times, _ = check_doses([time] if np.ndim(time) == 0 else time, 0.0, "resection")
        if self.times.size != 1:
            raise InputError(f"a resection has one day, got {self.times.size}; make one Resection per operation")
        self.cavity = jnp.asarray(cavity, bool)
        self.affine = None if affine is None else np.asarray(affine, float)

    def survival(self, index, density):
        return jnp.where(self.cavity, 0.0, 1.0)

    @property
    def log_kill(self):
        return None

    def open_tissue(self, t):
        return jnp.where((t >= self.times[0]) & self.cavity, 0.0, 1.0)

    def burden(self):
        return {"operations": 1}

    def select(self, keep):
        if not np.all(keep):
            raise InputError("a resection cannot be taken in part")
        return self

    def filled(self, count):
        return self

    def shifted(self, days):
        return later(self, days)

    @property
    def name(self):
        return "resection"

    def on(self, domain: Domain) -> "Resection":
        """The same operation with its cavity on the grid of `domain`."""
        if self.affine is None or domain.affine is None:
            if self.cavity.shape != domain.shape:
                raise InputError(
                    f"the cavity has shape {self.cavity.shape}, the domain {domain.shape}; give both an affine"
                )
            return self
        return Resection(self.times, domain.from_grid(np.asarray(self.cavity, bool), self.affine), domain.affine)
