"""Saturable pharmacokinetics: amounts that no formula gives, by diffrax."""

import abc
import dataclasses
from collections.abc import Mapping

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix
from jaxtyping import Array, Float

from twinjax.pharmacokinetics.dosing import Dosing
from twinjax.pharmacokinetics.pharmacokinetics import AbstractPharmacokinetics
from twinjax.pharmacokinetics.units import in_base_units, only

# The default root finder gives up at every other step of these equations, and so takes ten times as many.
IMPLICIT = diffrax.Kvaerno5(root_finder=diffrax.with_stepsize_controller_tols(optimistix.Newton)())
# Solver, tolerances (relative, mg) and step limit of a stretch between two events. In single precision rounding keeps
# Newton's method from converging over weeks; an explicit solver takes its 150 steps a day, but always arrives.
DOUBLE = (IMPLICIT, 1e-8, 1e-10, 1024)
SINGLE = (diffrax.Tsit5(), 1e-4, 1e-4, 65536)


class AbstractSaturablePharmacokinetics(AbstractPharmacokinetics):
    """Amounts in compartments, the first of them central, whose change is not linear in them.

    Solved by diffrax from one event (a dose, the end of an infusion, a time asked for) to the next: hours of
    distribution within weeks between doses are stiff. Relative tolerance 1e-8 in double, 1e-4 in single precision.
    Derivatives in both modes, in all parameters, doses, dose times and infusion lengths.

    Every call solves the whole history, so that a treatment that asks at every step of a long solve takes its time.
    """

    drug: eqx.AbstractVar[str]
    volume: eqx.AbstractVar[Float[Array, ""]]
    compartments: eqx.AbstractVar[int]

    def set_constants(self, published: Mapping[str, float], *, molar_mass_g_per_mol: float | None = None):
        """For `__init__`: sets every field but `drug` and `compartments`, in the base units, from published values."""
        values = in_base_units(published, self.drug, molar_mass_g_per_mol=molar_mass_g_per_mol)
        names = {field.name for field in dataclasses.fields(self)} - {"drug", "compartments"}
        only(values, names, self.drug)
        for name in names:
            setattr(self, name, jnp.asarray(values[name], float))

    @abc.abstractmethod
    def change(self, amounts: Float[Array, " compartments"]) -> Float[Array, " compartments"]:
        """d amounts / dt (mg/day) where nothing is given."""

    def concentration(self, dosing, times):
        times = jnp.asarray(times)
        return self._solved(dosing, times.ravel())[:, 0].reshape(times.shape)

    def moments(self, dosing, start, stop):
        order = jnp.argsort(dosing.times)
        edges = jnp.clip(jnp.append(dosing.times[order], stop), start, stop)
        _, once, twice = self._solved(dosing, edges).T
        begin, length = edges[:-1] - start, jnp.diff(edges)
        total = jnp.maximum(jnp.diff(once), 0.0)
        # The integral of (t - begin) C is length times the integral of C, less the integral of that integral.
        weighted = length * total - (jnp.diff(twice) - length * once[:-1])
        some = (length > 0) & (total > 0)
        mean = jnp.where(some, weighted, 0.0) / jnp.where(some, total, 1.0)
        back = jnp.argsort(order)
        return total[back], jnp.clip(begin + mean, 0.0, stop - start)[back]

    def _solved(self, dosing: Dosing, times) -> Float[Array, "times 3"]:
        """Concentration, its integral from the first event, and the integral of that, at each of `times`."""
        ends, bolus = dosing.times + dosing.durations, dosing.durations == 0
        events = jnp.concatenate([dosing.times, ends, times])
        # A dose at a time asked for comes first: the sort keeps the order of equals.
        order = jnp.argsort(events)
        events = events[order]
        at_once = jnp.concatenate(
            [jnp.where(bolus, dosing.amounts, 0.0), jnp.zeros(ends.size + times.size, events.dtype)]
        )[order]
        speed = jnp.where(bolus, 0.0, dosing.amounts / jnp.where(bolus, 1.0, dosing.durations))

        def stretch(state, event):
            begin, end, entering = event
            # A stretch lies between two events: whether an infusion runs shows in its middle.
            middle = jax.lax.stop_gradient((begin + end) / 2)
            rate = jnp.sum(jnp.where((middle >= dosing.times) & (middle < ends), speed, 0.0))
            after = self._stretch(state, end - begin, rate).at[0].add(entering)
            return after, jnp.stack([after[0] / self.volume, after[-2], after[-1]])

        before = jnp.concatenate([events[:1], events[:-1]])
        start = jnp.zeros(self.compartments + 2, events.dtype)
        _, found = jax.lax.scan(stretch, start, (before, events, at_once))
        return found[jnp.argsort(order)][2 * ends.size :]

    def _stretch(self, state, length, rate):
        def change(s, state, args):
            model, length, rate = args
            amounts = state[: model.compartments]
            central = amounts[0] / model.volume
            moved = model.change(amounts).at[0].add(rate)
            return length * jnp.concatenate([moved, jnp.stack([central, state[-2]])])

        solver, relative, absolute, steps = SINGLE if state.dtype == jnp.float32 else DOUBLE
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(change),
            solver,
            jnp.zeros((), state.dtype),
            jnp.ones((), state.dtype),
            None,
            state,
            (self, length, rate),
            stepsize_controller=diffrax.PIDController(rtol=relative, atol=absolute),
            adjoint=diffrax.DirectAdjoint(),
            max_steps=steps,
        )
        assert solution.ys is not None
        return solution.ys[-1]
