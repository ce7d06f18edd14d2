"""What derivatives cost, in forward solves, and the memory of the reverse gradient."""

import case
import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from measure import Row, interleaved, median, ratio

from twinjax.simulation import simulate

DAYS = [90.0, 180.0, 270.0]
MAX_STEP_DAYS = 4.0


def rows() -> list[Row]:
    domain = case.slab()
    state0 = case.state0(domain)
    weights = jnp.asarray(np.random.default_rng(0).random(state0.shape), state0.dtype)
    names, values = list(case.PARAMETERS), jnp.asarray(list(case.PARAMETERS.values()))

    def misfit(model, parameters, adjoint):
        states = simulate(model, case.regimen(parameters), state0, DAYS, max_step=MAX_STEP_DAYS, adjoint=adjoint).states
        return jnp.sum(weights * states**2)

    def of_parameters(domain, values, adjoint=None):
        parameters = dict(zip(names, values, strict=True))
        return misfit(case.model(domain, parameters), parameters, adjoint)

    def of_field(domain, field):
        model = case.model(domain, case.PARAMETERS)
        return misfit(eqx.tree_at(lambda m: m.domain.maps["white_matter"], model, field), case.PARAMETERS, None)

    forward = eqx.filter_jit(of_parameters)
    jacobian = eqx.filter_jit(
        lambda domain, values: jax.jacfwd(lambda v: of_parameters(domain, v, diffrax.ForwardMode()))(values)
    )
    reverse = eqx.filter_jit(lambda domain, values: jax.grad(lambda v: of_parameters(domain, v))(values))
    field = eqx.filter_jit(lambda domain, field: jax.grad(lambda f: of_field(domain, f))(field))
    seconds = interleaved(
        {
            "forward": lambda: forward(domain, values),
            "jacobian": lambda: jacobian(domain, values),
            "reverse": lambda: reverse(domain, values),
            "field": lambda: field(domain, domain.white_matter),
        }
    )
    memory = field.lower(domain, domain.white_matter).compile().compiled.memory_analysis()
    states = memory.temp_size_in_bytes / state0.nbytes

    def row(what, name, goal, more=""):
        return Row(
            what,
            f"{ratio(seconds, name, 'forward'):.1f} forward solves{more}",
            f"{1e3 * median(seconds, name):.3g} ms; forward {1e3 * median(seconds, 'forward'):.3g} ms",
            goal,
        )

    return [
        row("Jacobian of 4 parameters, forward mode", "jacobian", "6"),
        row("gradient in 4 parameters, reverse mode", "reverse", ""),
        row("gradient in a diffusivity field", "field", "8; 40 states", f", {states:.0f} states of memory"),
    ]
