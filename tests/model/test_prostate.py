"""Prostate cancer on a grid: steady states, order of the split, conservation, androgen, derivatives."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.kills import Kills
from twinjax.domain import Domain
from twinjax.model import ConstantFraction, LogisticGrowth, PointSeed, Prostate
from twinjax.model.prostate import logistic_flow
from twinjax.simulation import simulate
from twinjax.treatment import AndrogenDeprivation, Radiotherapy, Regimen

RNG = np.random.default_rng(0)
SHAPE = (9, 7)
PERFUSION = RNG.uniform(0.2, 1.8, SHAPE)


@pytest.fixture
def gland() -> Domain:
    """40 cm³ in all, of uneven perfusion."""
    voxel = 40e3 / np.prod(SHAPE)
    return Domain(np.ones(SHAPE), (voxel**0.5,) * 2, maps={"perfusion": PERFUSION / PERFUSION.mean()})


@pytest.fixture
def even_gland(gland) -> Domain:
    return Domain(np.ones(SHAPE), gland.spacing, maps={"perfusion": np.ones(SHAPE)})


def empty(model: Prostate):
    """No tumour and no PSA."""
    state = model.initial_state(jnp.zeros(model.domain.shape))
    return eqx.tree_at(lambda s: (s.tissue_psa, s.serum_psa), state, (jnp.zeros(model.domain.shape), jnp.zeros(())))


@pytest.mark.parametrize(
    ("exchange", "breakdown", "expected"),
    [(0.05, 0.0, 2.80), (0.5, 0.0, 2.80), (0.05, 0.05, 1.398), (0.005, 0.05, 0.2545)],
)
def test_serum_psa_comes_to_its_steady_state(even_gland, exchange, breakdown, expected):
    model = Prostate(even_gland, exchange_rate=exchange, tissue_breakdown_rate=breakdown, benign_secretion_rate=48.3)
    states = simulate(model, Regimen(), empty(model), [800.0], max_step=20.0).require_success().states
    np.testing.assert_allclose(states.serum_psa[0], expected, rtol=2e-4)
    np.testing.assert_allclose(model.initial_state(jnp.zeros(SHAPE)).serum_psa, states.serum_psa[0], rtol=1e-9)
    unmapped = model.on(Domain(np.ones(SHAPE), even_gland.spacing))
    np.testing.assert_allclose(unmapped.initial_state(jnp.zeros(SHAPE)).serum_psa, states.serum_psa[0], rtol=1e-9)


def test_perfusion_matters_to_serum_psa_by_breakdown_alone(gland, even_gland):
    def serum(domain, breakdown):
        model = Prostate(domain, tissue_breakdown_rate=breakdown, psa_diffusivity=0.0)
        return float(simulate(model, Regimen(), empty(model), [3000.0], max_step=20.0).states.serum_psa[0])

    np.testing.assert_allclose(serum(gland, 0.0), serum(even_gland, 0.0), rtol=1e-6)
    assert serum(gland, 0.05) < 0.97 * serum(even_gland, 0.05)


@pytest.fixture
def treated() -> Regimen:
    """Switches and fractions that fall within steps."""
    deprivation = AndrogenDeprivation([7.3], [26.4])
    return Regimen([deprivation, Radiotherapy([11.7, 13.1, 40.9], 2.0, alpha=0.15, alpha_beta_ratio=1.5)])


def grown(domain: Domain, **changes) -> tuple[Prostate, jnp.ndarray]:
    fraction = jnp.asarray(RNG.uniform(0.3, 1.0, domain.shape))
    settings = dict(proliferation_rate=0.03, diffusivity=0.4, proliferating_fraction=ConstantFraction(fraction))
    model = Prostate(domain, **(settings | changes))
    return model, 0.7 * PointSeed([60.0, 90.0], radius=40.0, amplitude=1.0)(domain)


@pytest.mark.slow
def test_splitting_is_of_second_order(gland, treated):
    model, density = grown(gland)
    state0 = model.initial_state(density)
    tight = dict(solver=diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=1e-11, atol=1e-12))
    exact = simulate(model, treated, state0, [64.0], **tight).require_success().states
    steps = [4.0, 2.0, 1.0, 0.5]
    errors = {name: [] for name in ("density", "tissue_psa", "serum_psa", "testosterone")}
    for step in steps:
        states = simulate(model, treated, state0, [64.0], max_step=step).require_success().states
        for name, found in errors.items():
            truth = getattr(exact, name)
            found.append(float(jnp.max(jnp.abs(getattr(states, name) - truth)) / jnp.max(jnp.abs(truth))))
    for name, found in errors.items():
        # Where in a step a switch falls changes from one step length to the next: hence the slope of all.
        slope = np.polyfit(np.log(steps), np.log(found), 1)[0]
        assert slope > 1.7, (name, found)
        assert found[3] < 1e-3, (name, found)


def test_psa_is_conserved(gland):
    """What leaves the tissue arrives in the blood, in every step of any length."""
    model = Prostate(
        gland,
        benign_secretion_rate=0.0,
        tumor_secretion_rate=0.0,
        tissue_breakdown_rate=0.0,
        psa_clearance_rate=0.0,
    )
    state = eqx.tree_at(lambda s: s.tissue_psa, empty(model), jnp.asarray(100 * RNG.random(SHAPE)))

    def content(state):
        return state.serum_psa * model.serum_volume + jnp.sum(state.tissue_psa) * gland.voxel_volume / 1000

    after = simulate(model, Regimen(), state, [37.0], max_step=37.0).states
    after = jax.tree.map(lambda leaf: leaf[0], after)
    assert float(after.serum_psa) > 0.1
    np.testing.assert_allclose(content(after), content(state), rtol=1e-12)


def test_castration_lowers_psa_by_its_published_ratio_and_shrinks_the_tumour(even_gland):
    model, density = grown(even_gland, proliferation_rate=0.0, androgen_dependent_death_rate=0.0)
    state0 = model.initial_state(density)
    castrated = Regimen([AndrogenDeprivation([0.0], [2000.0])])
    on = simulate(model, castrated, state0, [1500.0, 2600.0], max_step=10.0).require_success().states
    quantities = jax.vmap(model.quantities)(on)
    np.testing.assert_allclose(quantities["testosterone_ng_dl"], [15.0, 449.0], rtol=1e-4)
    np.testing.assert_allclose(quantities["psa_ng_ml"] / state0.serum_psa, [0.0504, 1.0], rtol=1e-3)
    dying = eqx.tree_at(lambda m: m.androgen_dependent_death_rate, model, jnp.asarray(0.01))
    later = simulate(dying, castrated, state0, [100.0, 500.0], max_step=10.0).states
    fallen = jnp.sum(later.density[1]) / jnp.sum(later.density[0])
    np.testing.assert_allclose(fallen, np.exp(-0.01 * (1 - 15 / 449) * 400), rtol=1e-5)


def test_growth_with_kills_is_that_of_the_logistic_law():
    kills = Kills(jnp.array([0.3, 0.0, 1.2]), jnp.array([0.4, 1.0, 2.5]))
    u, rates = jnp.array([0.1, 0.6, 0.9]), jnp.array([0.02, 0.15, 0.0])
    got = logistic_flow(u, 3.0, rates, rates / 0.95, kills)
    expected = [LogisticGrowth().flow(u[i], 3.0, rates[i], 0.95, kills=kills) for i in range(3)]
    np.testing.assert_allclose(got, jnp.stack(expected), rtol=1e-9)


@pytest.mark.thorough
def test_a_field_of_the_proliferating_fraction_grows_where_it_is_high(even_gland):
    fraction = np.where(np.arange(SHAPE[0])[:, None] < 4, 1.0, 0.0) * np.ones(SHAPE)
    model, _ = grown(even_gland, proliferating_fraction=ConstantFraction(fraction), diffusivity=0.0)
    state0 = model.initial_state(jnp.full(SHAPE, 0.2))
    later = simulate(model, Regimen(), state0, [30.0]).states.density[0]
    np.testing.assert_allclose(later[4:], 0.2, rtol=1e-12)
    expected = 1 / (1 + (1 / 0.2 - 1) * np.exp(-0.03 * 30))
    np.testing.assert_allclose(later[:4], expected, rtol=1e-12)


def test_vector_field_without_space_is_reaction_and_balance(gland):
    model, density = grown(gland, diffusivity=0.0, psa_diffusivity=0.0)
    state = model.initial_state(density)
    change = model.vector_field(0.0, state, _forcing(model))
    np.testing.assert_allclose(change.density, model.reaction(density, jnp.zeros(())), atol=1e-14)
    # The state of the start is at rest but for growth.
    assert float(jnp.max(jnp.abs(change.tissue_psa))) < 1e-9 * float(jnp.max(state.tissue_psa))
    assert abs(float(change.serum_psa)) < 1e-12


def _forcing(model):
    from twinjax.model import Forcing

    return Forcing(jnp.zeros(()), model.transport(None))


@pytest.mark.slow
def test_derivatives_agree_with_differences(gland, treated):
    """Also with voxels outside the gland and without perfusion."""
    perfusion = np.where(RNG.random(SHAPE) < 0.2, 0.0, PERFUSION)
    model, density = grown(Domain(RNG.random(SHAPE) < 0.9, gland.spacing, maps={"perfusion": perfusion}))
    names = ("proliferation_rate", "diffusivity", "exchange_rate", "tissue_breakdown_rate", "tumor_secretion_rate")

    def psa_and_volume(log_scale, adjoint=None):
        changed = eqx.tree_at(
            lambda m: [getattr(m, name) for name in names],
            model,
            [getattr(model, name) * jnp.exp(log_scale[i]) for i, name in enumerate(names)],
        )
        state0 = changed.initial_state(density)
        states = simulate(changed, treated, state0, [50.0], max_step=4.0, adjoint=adjoint).states
        last = changed.quantities(jax.tree.map(lambda leaf: leaf[0], states))
        return jnp.log(last["psa_ng_ml"]) + jnp.log(last["cell_volume_mm3"])

    at, along = jnp.zeros(len(names)), jnp.array([1.0, -0.8, 0.6, 1.2, -0.9])
    reverse = jax.grad(psa_and_volume)(at)
    _, forward = jax.jvp(lambda x: psa_and_volume(x, diffrax.ForwardMode()), (at,), (along,))
    difference = (psa_and_volume(1e-5 * along) - psa_and_volume(-1e-5 * along)) / 2e-5
    np.testing.assert_allclose(forward, difference, rtol=1e-6)
    np.testing.assert_allclose(reverse @ along, forward, rtol=1e-9)
    assert float(jnp.min(jnp.abs(reverse))) > 1e-6
