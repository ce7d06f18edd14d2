"""Pancreatic cancer: one core of equations in space and without, its flow, CA19-9, and what treatments do to it."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.core.kills import Kills
from twinjax.domain import Domain
from twinjax.model import CA199, Forcing, PancreaticCells, PancreaticTissue, PancreaticTumor
from twinjax.model.pancreatic_cells import Cells
from twinjax.simulation import simulate
from twinjax.solver import StrangSplitting
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen, StromaAgent

TIGHT = diffrax.PIDController(rtol=1e-10, atol=1e-12)
LEVELS = {"stroma_depletion": jnp.array(0.6), "checkpoint_blockade": jnp.array(0.8)}
RNG = np.random.default_rng(0)


def random_cells(shape=()) -> Cells:
    parts = RNG.random((4, *shape))
    return Cells(*(jnp.asarray(p) for p in (0.5 * parts[0], 0.3 * parts[1], 0.1 + 0.8 * parts[2], 0.5 + parts[3])))


def exact_flow(core: PancreaticCells, cells: Cells, duration: float, kill_rate=0.0) -> Cells:
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: core.rates(y, kill_rate, LEVELS)),
        diffrax.Dopri8(),
        0.0,
        duration,
        0.1,
        cells,
        stepsize_controller=TIGHT,
    )
    return jax.tree.map(lambda leaf: leaf[-1], solution.ys)


@pytest.fixture
def core() -> PancreaticCells:
    return PancreaticCells(
        proliferation_rate=0.08,
        resistant_growth_ratio=0.7,
        mutation_rate=0.02,
        immune_kill_rate=0.03,
        stroma_growth_rate=0.05,
        effector_expansion_rate=0.03,
    )


@pytest.mark.thorough
def test_flow_is_of_second_order(core):
    cells = random_cells((6,))
    exact = exact_flow(core, cells, 16.0)
    steps, errors = np.array([4.0, 2.0, 1.0]), []
    for step in steps:
        y = cells
        for _ in range(round(16 / step)):
            y = core.flow(y, step, LEVELS)
        pairs = zip(jax.tree.leaves(y), jax.tree.leaves(exact), strict=True)
        errors.append([float(jnp.abs(a - b).max()) for a, b in pairs])
    orders = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert (np.abs(orders - 2) < 0.15).all(), (orders, errors)
    assert np.max(errors) < 0.02


@pytest.mark.parametrize("duration", [3.5, 30.0, 1000.0])
def test_flow_keeps_what_must_be_positive_and_below_capacity(core, duration):
    extreme = [
        Cells(*map(jnp.asarray, c)) for c in ([1.0, 0.0, 1.0, 5.0], [1e-9, 1 - 1e-9, 0.0, 0.0], [0.0, 0.0, 0.5, 1.0])
    ]
    for cells in (*extreme, random_cells((200,))):
        after = core.flow(cells, duration, LEVELS)
        assert all(float(leaf.min()) >= 0 for leaf in jax.tree.leaves(after))
        assert float(after.tumor.max()) <= 1 + 1e-12
        assert float(after.stroma.max()) <= 1 + 1e-12
    # What is not there does not arise.
    gone = core.flow(extreme[2], duration, LEVELS)
    assert float(gone.tumor) == 0


def test_flow_has_finite_gradients_where_there_is_nothing(core):
    nothing = Cells(*(jnp.zeros(()) for _ in range(4)))

    def total(core, cells, duration):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(core.flow(cells, duration, {})))

    for duration in (0.0, 3.0):
        gradient = jax.grad(total, argnums=(0, 1, 2))(core, nothing, duration)
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))


def test_flow_in_single_precision_is_that_in_double(core):
    cells = random_cells((5,))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (core, cells))
    after = single[0].flow(single[1], jnp.float32(3.0), {})
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(core.flow(cells, 3.0, {})), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_stroma_keeps_drugs_from_cells_and_resistance_does_too(core):
    dense, bare = (Cells(jnp.array(0.3), jnp.array(0.3), jnp.array(f), jnp.array(1.0)) for f in (0.5, 0.0))
    killed = core.killed(bare, 1.0, 0.0)
    np.testing.assert_allclose([killed.sensitive, killed.resistant], [0.3 * np.exp(-1), 0.3 * np.exp(-0.2)])
    np.testing.assert_allclose(core.killed(dense, 1.0, 0.0).sensitive, 0.3 * np.exp(-0.5))  # the barrier is 0.5
    np.testing.assert_allclose(core.killed(bare, 1.0, 0.0, perfusion=0.4).sensitive, 0.3 * np.exp(-0.4))
    irradiated = core.killed(dense, 0.0, 1.0)
    np.testing.assert_allclose([irradiated.sensitive, irradiated.resistant], 0.3 * np.exp(-1) * np.ones(2))


def test_kills_agree_with_the_kill_rate_of_the_vector_field(core):
    cells, rate = random_cells(), 0.2
    without = core.rates(cells, 0.0, LEVELS)
    with_drug = core.rates(cells, rate, LEVELS)
    tiny = 1e-6
    killed = core.killed(cells, rate * tiny, 0.0)
    for name in ("sensitive", "resistant", "stroma", "effectors"):
        change = (getattr(killed, name) - getattr(cells, name)) / tiny
        np.testing.assert_allclose(getattr(with_drug, name) - getattr(without, name), change, rtol=1e-5, atol=1e-12)


def test_agents_open_stroma_and_free_effectors():
    model = PancreaticTumor()
    start, doses = model.initial_state(jnp.asarray(8000.0)), np.arange(14, 84, 7.0)
    gemcitabine = Chemotherapy(
        doses, 1000.0, drug="gemcitabine", sensitivity=0.8, clearance_rate=1.0, reference_dose=1e3
    )
    agent = StromaAgent(np.arange(0, 84, 1.0), 0.3)
    volume = {}
    for name, treatments in {"none": [], "drug": [gemcitabine], "both": [gemcitabine, agent]}.items():
        after = simulate(model, Regimen(treatments), start, [84.0]).require_success().states
        state = jax.tree.map(lambda leaf: leaf[0], after)
        volume[name] = float(model.quantities(state)["volume_mm3"])
        volume[name + " stroma"] = float(state.cells.stroma)
    assert volume["both stroma"] < 0.5 * volume["drug stroma"]
    assert volume["both"] < 0.8 * volume["drug"] < 0.8 * volume["none"]
    blocked = model.vector_field(0.0, start, Forcing(jnp.zeros(()), levels={"checkpoint_blockade": jnp.array(1.0)}))
    free = model.vector_field(0.0, start, Forcing(jnp.zeros(())))
    assert float(blocked.cells.effectors) > float(free.cells.effectors) > 0


def test_ca19_9_follows_the_volume_and_says_nothing_without_the_antigen():
    marker = CA199(production_rate=0.05, basal_rate=3.0, clearance_rate=0.3)
    rest = marker.at_rest(2000.0)
    np.testing.assert_allclose(rest, (3.0 + 0.05 * 2000) / 0.3)
    np.testing.assert_allclose(marker.rate(rest, 2000.0), 0, atol=1e-12)
    np.testing.assert_allclose(marker.flow(rest, 5.0, 2000.0), rest)
    # Closed form of the decay towards a smaller tumour's level.
    np.testing.assert_allclose(marker.flow(rest, 5.0, 0.0), 10.0 + (rest - 10.0) * np.exp(-1.5))
    without = eqx.tree_at(lambda m: m.expression, marker, jnp.array(0.0))
    np.testing.assert_allclose(without.at_rest(9e9), 10.0)


def tissue(shape=(8, 6), spacing=2.0, **values) -> PancreaticTissue:
    maps = {"stroma": 0.3 + 0.4 * RNG.random(shape), "perfusion": 0.5 + RNG.random(shape)}
    return PancreaticTissue(Domain(np.ones(shape), (spacing,) * len(shape), maps=maps), **values)


REGIMEN = Regimen(
    [
        Chemotherapy([1.3, 6.1], 1000.0, drug="gemcitabine", sensitivity=0.9, clearance_rate=0.8, reference_dose=1e3),
        Radiotherapy([3.7], 5.0, alpha=0.1),
        StromaAgent([2.2], 1.0),
    ]
)


@pytest.mark.thorough
def test_space_without_diffusion_is_the_compartments_everywhere():
    """Even maps and no diffusion: every voxel is the model without space, solved unsplit."""
    cells = PancreaticCells(immune_kill_rate=0.03)
    model = PancreaticTissue(Domain(np.ones((3, 2)), (2.0, 2.0)), cells=cells, diffusivity=0.0)
    lumped = PancreaticTumor(cells=cells, carrying_capacity_mm3=6 * 4.0)
    start, volume = jnp.full((3, 2), 0.3), jnp.asarray(0.3 * 24)
    wide = simulate(
        model, REGIMEN, model.initial_state(start), [5.0, 12.0], solver=diffrax.Tsit5(), stepsize_controller=TIGHT
    )
    small = simulate(lumped, REGIMEN, lumped.initial_state(volume), [5.0, 12.0], stepsize_controller=TIGHT)
    wide, small = wide.require_success().states, small.require_success().states
    for name in ("sensitive", "resistant", "stroma", "effectors"):
        np.testing.assert_allclose(wide[name][:, 1, 1], getattr(small.cells, name), rtol=1e-8)
    np.testing.assert_allclose(wide["ca19_9"], small.ca19_9, rtol=1e-8)


@pytest.mark.slow
def test_splitting_is_of_second_order_through_drugs_radiotherapy_and_agents():
    cells = PancreaticCells(proliferation_rate=0.08, immune_kill_rate=0.02)
    model = tissue(shape=(4, 3), diffusivity=0.2, cells=cells)
    start = model.initial_state(jnp.asarray(0.6 * RNG.random(model.domain.shape)))
    exact = simulate(model, REGIMEN, start, [12.0], solver=diffrax.Tsit5(), stepsize_controller=TIGHT)
    exact = exact.require_success().states

    def split(step):
        trajectory = simulate(model, REGIMEN, start, [12.0], solver=StrangSplitting(), max_step=step)
        states = trajectory.require_success().states
        return states, [float(jnp.abs(states[k] - exact[k]).max() / jnp.abs(exact[k]).max()) for k in exact]

    # Over a factor of sixteen: where a dose falls within a step makes single halvings uneven.
    steps = np.array([0.5, 0.25, 0.125, 0.0625, 0.03125])
    errors = [split(step)[1] for step in steps]
    orders = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert (np.abs(orders - 2) < 0.3).all(), (orders, errors)
    coarse, error = split(3.5)
    assert max(error) < 0.03, error
    assert all(float(leaf.min()) >= 0 for leaf in coarse.values())


def test_radiotherapy_kills_in_a_split_step_what_stroma_keeps_drugs_from():
    model = tissue(shape=(4,), diffusivity=0.0)
    state = model.initial_state(jnp.full(4, 0.4))
    by_drug, by_fraction = (Kills(jnp.array([1.0]), jnp.array([0.0]), flag) for flag in (True, False))
    instant = jnp.asarray(1e-9)
    left = [model.cell_density(model.reaction_flow(state, instant, k, {})) for k in (by_drug, by_fraction)]
    np.testing.assert_allclose(left[1], 0.4 * np.exp(-1), rtol=1e-6)
    reach = np.asarray(model.domain.map("perfusion") / (1 + model.domain.map("stroma") / 0.5))
    np.testing.assert_allclose(left[0], 0.4 * (0.99 * np.exp(-reach) + 0.01 * np.exp(-0.2 * reach)), rtol=1e-6)


@pytest.mark.slow
def test_gradient_agrees_with_differences():
    names = ("proliferation_rate", "stroma_barrier", "mutation_rate", "effector_exclusion")
    model = tissue(shape=(4, 3), diffusivity=0.2)
    start = model.initial_state(jnp.asarray(0.5 * RNG.random(model.domain.shape)))

    def at(model):
        return [getattr(model.cells, name) for name in names]

    @jax.jit
    def shed(values):
        states = simulate(eqx.tree_at(at, model, list(values)), REGIMEN, start, [9.0], max_step=3.0).states
        return states["ca19_9"][0] + jnp.sum(states["resistant"])

    values = jnp.stack(at(model))
    gradient = jax.jit(jax.grad(shed))(values)
    for i, value in enumerate(values):
        h = jnp.zeros(4).at[i].set(1e-4 * value)
        np.testing.assert_allclose(gradient[i], (shed(values + h) - shed(values - h)) / (2e-4 * value), rtol=1e-6)


def test_quantities_of_tissue():
    model = tissue(shape=(10, 10, 10), spacing=1.5)
    density = np.zeros((10, 10, 10))
    density[2:8, 2:8, 2:8] = 0.8
    found = model.quantities(model.initial_state(jnp.asarray(density)))
    np.testing.assert_allclose(found["volume_mm3"], 216 * 1.5**3, rtol=1e-4)
    np.testing.assert_allclose(found["cell_volume_mm3"], 0.8 * 216 * 1.5**3)
    np.testing.assert_allclose(found["ca19_9_u_ml"], 10 + 0.1 * 0.8 * 216 * 1.5**3)


def test_resections_need_space():
    with pytest.raises(InputError, match="model=pancreas_spatial"):
        PancreaticTumor().transport(jnp.ones(3))
