"""Solves over several devices against one; `test_in_slabs.py` runs this where a CPU stands for four devices."""

import re

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.domain import DiffusionOperator, Domain, Execution, anisotropic_diffusion
from twinjax.domain.diffusion import with_resistance
from twinjax.model import FisherKPP, Prostate, VolumeModel
from twinjax.simulation import simulate
from twinjax.solver import RungeKuttaLegendre, StrangSplitting
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen, Resection

RNG = np.random.default_rng(0)
VALUES = jnp.array([0.3, 0.1, 0.05])


def grid(rows):
    """Tissue of two kinds with holes; neither 2 nor 4 divides 9 or 11 rows."""
    shape = (rows, 5)
    white = RNG.random(shape)
    return Domain(RNG.random(shape) < 0.9, (1.5, 2.0), white_matter=white, grey_matter=1 - white)


DOMAIN = grid(11)
STATE0 = jnp.asarray(RNG.uniform(0.1, 0.6, DOMAIN.shape) * np.asarray(DOMAIN.mask))


def states(values, white_matter, solver, *, domain=DOMAIN, state0=STATE0, adjoint=None, more=()):
    """Two fractions, the second in tissue of varied oxygen, and a drug; NaN where the solve fails."""
    model = FisherKPP(domain, diffusivity=values[0], proliferation_rate=values[1])
    model = eqx.tree_at(lambda m: m.domain.maps["white_matter"], model, white_matter)
    oxygen = jnp.asarray(np.linspace(1, 3, state0.size).reshape(state0.shape))
    hypoxic = Radiotherapy([3.0], 2.0, alpha=values[2], oxygen_enhancement_ratio=oxygen)
    drug = Chemotherapy([2.5], 75.0, sensitivity=0.4)
    regimen = Regimen([Radiotherapy([2.0], 2.0, alpha=values[2]), hypoxic, drug, *more])
    trajectory = simulate(model, regimen, state0, [2.0, 6.0], solver=solver, adjoint=adjoint)
    return jnp.where(trajectory.success, trajectory.states, jnp.nan)


def same(found, expected, rtol=1e-12):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.isfinite(other).all() and np.abs(other).max() > 1e-3
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * np.abs(other).max())


@pytest.mark.thorough
def test_fields_and_gradients_are_those_of_one_device():
    """In global parameters and in a field that the diffusivity is made of."""

    def derivatives(devices):
        def loss(values, white_matter):
            found = states(values, white_matter, StrangSplitting(devices=devices))
            return jnp.sum(jnp.sin(3 * found)), found

        return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(VALUES, DOMAIN.white_matter)

    same(derivatives(2), derivatives(1), 1e-11)


@pytest.mark.slow
def test_forward_mode_and_a_batch():
    many = VALUES * jnp.array([[0.8], [1.2]])

    def jacobians(devices):
        solver, adjoint = StrangSplitting(devices=devices), diffrax.ForwardMode()
        one = jax.jacfwd(lambda v: states(v, DOMAIN.white_matter, solver, adjoint=adjoint))
        return jax.jit(jax.vmap(one))(many)

    same(jacobians(2), jacobians(1), 1e-11)


@pytest.mark.slow
def test_four_devices_more_stages_and_an_operation():
    cavity = np.indices(DOMAIN.shape)[0] < 4
    one, four = (
        states(VALUES, DOMAIN.white_matter, StrangSplitting(3, devices), more=[Resection(2.2, cavity)])
        for devices in (1, 4)
    )
    assert not one[1][cavity].any()
    same(four, one)


@pytest.mark.slow
def test_adaptive_steps_are_those_of_one_device():
    one, two = (states(VALUES, DOMAIN.white_matter, RungeKuttaLegendre(devices=devices)) for devices in (1, 2))
    # They amplify rounding.
    same(two, one, 1e-9)


def test_only_planes_and_single_numbers_travel():
    """On a grid that the devices divide: no pass sends a slab."""
    domain = grid(8)
    solve = jax.jit(lambda v, u: states(v, domain.white_matter, StrangSplitting(devices=2), domain=domain, state0=u))
    text = solve.lower(VALUES, jnp.where(domain.mask, 0.3, 0.0)).compile().as_text()
    sent = re.findall(r"= \w+\[([\d,]*)\]\S* collective-permute\(", text)
    assert sent and all(np.prod([int(n) for n in shape.split(",")]) == 5 for shape in sent)
    assert set(re.findall(r"= \w+\[([\d,]*)\]\S* all-reduce\(", text)) == {""}
    assert "all-gather(" not in text and "all-to-all(" not in text


@pytest.mark.slow
def test_a_tensor_reads_two_planes_and_derivatives_of_any_order_agree():
    shape = (8, 4)
    factor = RNG.normal(size=(2, 2, *shape))
    tensor = jnp.asarray(np.einsum("ik...,jk...->ij...", factor, factor))
    mask, u = jnp.asarray(RNG.random(shape) < 0.9), jnp.asarray(RNG.random(shape))

    def outcome(tensor, u, execution):
        operator = anisotropic_diffusion(tensor, mask, (1.0, 1.2)).by(execution)
        once = operator(u)
        return jnp.sum(jnp.sin(operator(once * u)) * once) + operator.spectral_radius

    def derivatives(execution):
        gradient = jax.grad(lambda t, u: outcome(t, u, execution), (0, 1))
        twice = jax.grad(lambda t, u: sum(jnp.sum(g**2) for g in gradient(t, u)), (0, 1))
        return jax.jit(lambda t, u: (outcome(t, u, execution), gradient(t, u), twice(t, u)))(tensor, u)

    same(derivatives(Execution.create(4, "auto")), derivatives(Execution()), 1e-10)


def test_the_gpu_kernel_and_cells_slowed_down():
    shape = (6, 4)
    field, mask = jnp.asarray(RNG.random(shape)), jnp.asarray(RNG.random(shape) < 0.9)
    u, resistance = jnp.asarray(RNG.random(shape)), jnp.asarray(RNG.uniform(1, 3, shape))

    def moved(execution):
        operator = DiffusionOperator.create(field, mask, (1.0, 1.5)).by(execution)
        return with_resistance(operator, resistance).over(0.2).second_order(u.reshape(-1))

    expected = moved(Execution())
    for kernel in ("xla", "pallas"):
        same(jax.jit(moved, static_argnums=0)(Execution.create(2, kernel)), expected)


def test_what_cannot_be_split_is_refused():
    with pytest.raises(InputError, match=r"solver.devices is 5, but there are 4 \(cpu\).*device_count=5"):
        StrangSplitting(devices=5)
    with pytest.raises(InputError, match="7 voxels along its first axis and each device needs 2; ask for 3 or fewer"):
        simulate(FisherKPP(grid(7)), Regimen(), jnp.zeros((7, 5)), [1.0], solver=StrangSplitting(devices=4))
    model = Prostate(grid(7), exchange_rate=0.0)
    with pytest.raises(InputError, match="Prostate depends on where the grid ends; choose a divisor of 7"):
        simulate(model, Regimen(), model.initial_state(jnp.zeros((7, 5))), [1.0], solver=StrangSplitting(devices=2))
    with pytest.raises(InputError, match="VolumeModel has no grid to split; set it to 1"):
        simulate(VolumeModel(), Regimen(), jnp.asarray(1.0), [1.0], solver=RungeKuttaLegendre(devices=2))
