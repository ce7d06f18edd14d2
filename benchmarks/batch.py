"""Many parameter samples: in one batch, in several, and one by one."""

import case
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Layout, with_layout_constraint
from measure import Row, interleaved, median, processor_seconds, ratio

from twinjax.domain import DiffusionOperator, Domain
from twinjax.simulation import simulate

SAMPLES = 32
CHUNK = 4
DAYS = 90.0
# Steps of 3.5 days in that time.
STEPS = 26


def rows() -> list[Row]:
    return [*solves(), *(_side_by_side(size) for size in (8, 16, 32))]


def solves() -> list[Row]:
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
    chunks = jax.jit(lambda s: jax.lax.map(final, s, batch_size=CHUNK))
    functions = {
        "single": lambda: [single(sample) for sample in samples],
        "batch": lambda: batch(samples),
        "loop": lambda: loop(samples),
        "chunks": lambda: chunks(samples),
    }
    seconds, work = interleaved(functions), processor_seconds(functions)
    less = {name: work["single"] / taken for name, taken in work.items()}
    return Row(
        f"{SAMPLES} samples, {name}",
        f"{1e3 * median(seconds, 'batch') / SAMPLES:.2f} ms a sample",
        f"{ratio(seconds, 'single', 'batch'):.2f} times the throughput of single solves by vmap, "
        f"{ratio(seconds, 'single', 'loop'):.2f} by lax.map, {ratio(seconds, 'single', 'chunks'):.2f} by lax.map over "
        f"vmaps of {CHUNK}; in processor time ({1e3 * work['single'] / SAMPLES:.2f} ms a single solve) "
        f"{less['batch']:.2f}, {less['loop']:.2f} and {less['chunks']:.2f}",
        "1.5 times",
    )


def _side_by_side(count) -> Row:
    """The bare steps of a solve, one by one, and of `count` samples whose values at a voxel lie side by side.

    In processor time, which does not depend on who else uses the machine. Faces are read once for all samples; each
    has a diffusivity and a growth rate of its own.
    """
    rng = np.random.default_rng(0)
    shape = (40, 40, 40)
    field = jnp.asarray(0.02 + 0.1 * rng.random(shape), jnp.float32)
    operator = DiffusionOperator.create(field, jnp.ones(shape, bool), (2.0, 2.0, 2.0))
    u = jnp.asarray(0.5 * rng.random(field.size), jnp.float32)
    scales, gains = (jnp.linspace(low, high, count, dtype=jnp.float32) for low, high in ((0.8, 1.2), (1.05, 1.15)))
    lead, size = max(operator.strides), field.size

    def grown(u, gain):
        return gain * u / (1 + (gain - 1) * u)

    @jax.jit
    def single(u, scale, gain):
        step = operator.over(3.5 * scale)
        return jax.lax.fori_loop(0, STEPS, lambda _, u: grown(step.second_order(u), gain), u)

    def side_by_side(u):
        return with_layout_constraint(u, Layout(major_to_minor=(1, 0)))

    def change(u):
        padded = side_by_side(jnp.pad(u, ((0, 0), (lead, lead))))
        total = 0.0
        for face, stride in zip(operator.faces, operator.strides, strict=True):
            for weight, offset in ((face[lead:], stride), (face[lead - stride : lead - stride + size], -stride)):
                there = padded[:, lead + offset : lead + offset + size]
                total = total + weight * (there - padded[:, lead : lead + size])
        return 3.5 * scales[:, None] * total

    @jax.jit
    def together(u):
        def step(_, u):
            return side_by_side(grown(u + change(u + 0.5 * change(u)), gains[:, None]))

        return jax.lax.fori_loop(0, STEPS, step, side_by_side(jnp.broadcast_to(u, (count, size))))

    def one_by_one():
        return jnp.stack([single(u, scale, gain) for scale, gain in zip(scales, gains, strict=True)])

    error = float(jnp.abs(one_by_one() - together(u)).max())
    assert error < 1e-5, f"the two do not compute the same: {error}"
    work = processor_seconds({"alone": one_by_one, "together": lambda: together(u)})
    return Row(
        f"bare steps of {count} samples side by side, 40 x 40 x 40",
        f"{1e3 * work['together'] / count:.2f} ms of processor time a sample",
        f"{work['alone'] / work['together']:.2f} times the throughput of the same steps one by one",
        "1.5 times",
    )
