"""Many parameter samples: in one batch, and one by one."""

import case
import jax
import jax.numpy as jnp
import numpy as np
from measure import Row, interleaved, median, ratio

from twinjax.domain import Domain
from twinjax.simulation import simulate

SAMPLES = 32
DAYS = 90.0


def rows() -> list[Row]:
    return [_row("calibration grid, 20 x 20 x 20", 20), _row("calibration grid, 40 x 40 x 40", 40)]


def _row(name, size) -> Row:
    rng = np.random.default_rng(0)
    shape = (size, size, size)
    white = rng.random(shape)
    domain = Domain(np.ones(shape), (2.0, 2.0, 2.0), white_matter=white, grey_matter=1 - white)
    distance = np.linalg.norm(np.indices(shape) - size / 2, axis=0)
    state0 = jnp.asarray(np.exp(-((distance / (size / 8)) ** 2)))
    values = jnp.asarray(list(case.PARAMETERS.values()))
    samples = values * jnp.exp(0.2 * jnp.asarray(rng.normal(size=(SAMPLES, values.size))))

    def final(values):
        parameters = dict(zip(case.PARAMETERS, values, strict=True))
        model, regimen = case.model(domain, parameters), case.regimen(parameters)
        return simulate(model, regimen, state0, [DAYS], max_step=3.5).states[0].sum()

    single, batch, loop = jax.jit(final), jax.jit(jax.vmap(final)), jax.jit(lambda s: jax.lax.map(final, s))
    seconds = interleaved(
        {
            "single": lambda: [single(sample) for sample in samples],
            "batch": lambda: batch(samples),
            "loop": lambda: loop(samples),
        }
    )
    return Row(
        f"{SAMPLES} samples, {name}",
        f"{1e3 * median(seconds, 'batch') / SAMPLES:.2f} ms a sample",
        f"{ratio(seconds, 'single', 'batch'):.2f} times the throughput of single solves by vmap, "
        f"{ratio(seconds, 'single', 'loop'):.2f} by lax.map",
        "1.5 times",
    )
