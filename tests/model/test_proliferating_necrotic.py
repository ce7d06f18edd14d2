"""Proliferating and necrotic cells: the flow's order under treatment, bounds, and its limits."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.kills import Kills
from twinjax.domain import Domain
from twinjax.model import FisherKPP, Forcing, PointSeed, ProliferatingNecrotic
from twinjax.simulation import simulate
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

LINE = Domain(np.ones(24), (1.0,))
X = np.arange(24) - 11.5
FAST = {"proliferation_rate": 0.3, "necrosis_rate": 0.2, "nutrient_uptake": 0.2, "nutrient_threshold": 0.6}


def mixture(domain=LINE) -> dict:
    """A state with all three fields at work."""
    x = jnp.asarray(np.linspace(0, 1, domain.mask.size).reshape(domain.shape))
    return {"proliferating": 0.6 * (1 - x), "necrotic": 0.3 * x**2, "nutrient": 0.4 + 0.4 * x}


def treatments() -> Regimen:
    fractions = Radiotherapy([2.0, 3.0, 5.0], 2.0, alpha=0.1)
    return Regimen([fractions, Chemotherapy([1.0, 4.0], 75.0, sensitivity=0.2, clearance_rate=0.7)])


def stacked(states) -> np.ndarray:
    return np.concatenate([np.asarray(states[name])[-1].ravel() for name in ("proliferating", "necrotic", "nutrient")])


@pytest.mark.thorough
def test_second_order_in_time_under_treatment():
    """Against diffrax on the unsplit equations; doses lie at a third or two thirds of a step."""
    model, given = ProliferatingNecrotic(LINE, diffusivity=0.2, **FAST), treatments().shifted(1 / 3)
    controller = diffrax.PIDController(rtol=1e-9, atol=1e-11)
    exact = simulate(
        model, given, mixture(), [8.0], solver=diffrax.Tsit5(), stepsize_controller=controller
    ).require_success()
    steps, errors = 8.0 / np.array([8, 16, 32, 64]), []
    for step in steps:
        split = simulate(model, given, mixture(), [8.0], max_step=step).require_success()
        errors.append(np.abs(stacked(split.states) - stacked(exact.states)).max())
    order = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert order > 1.8, (order, errors)
    assert errors[-1] < 2e-4, errors


def test_fields_keep_their_bounds_in_long_steps():
    model = ProliferatingNecrotic(LINE, **FAST)
    kills = Kills(jnp.array([0.3, 0.0, 1.5]), jnp.array([1.0, 0.0, 9.0]))
    state = {"proliferating": jnp.ones(24), "necrotic": jnp.linspace(0, 1, 24), "nutrient": jnp.linspace(1, 0, 24)}
    for _ in range(20):
        state = model.reaction_flow(state, jnp.asarray(10.0), kills, {})
        assert all(bool(((field >= 0) & (field <= 1)).all()) for field in state.values())
    assert float(state["proliferating"].max()) < 1e-3
    # No time, no change but the kills'.
    still = model.reaction_flow(mixture(), jnp.asarray(0.0), Kills.none(), {})
    jax.tree.map(np.testing.assert_allclose, still, mixture())


@pytest.mark.thorough
def test_without_necrosis_and_uptake_it_is_fisher_kpp():
    rates = {"diffusivity": 0.2, "proliferation_rate": 0.1}
    model = ProliferatingNecrotic(LINE, necrosis_rate=0.0, nutrient_uptake=0.0, **rates)
    u = 0.5 * np.exp(-(X**2) / 8)
    state = {"proliferating": jnp.asarray(u), "necrotic": jnp.zeros(24), "nutrient": jnp.ones(24)}
    plain = simulate(FisherKPP(LINE, **rates), Regimen(), u, [20.0], max_step=0.25).require_success().states[0]
    split = simulate(model, Regimen(), state, [20.0], max_step=0.25).require_success().states
    np.testing.assert_allclose(split["proliferating"][0], plain, rtol=1e-9)
    np.testing.assert_allclose(split["nutrient"][0], 1.0)
    fraction = Regimen([Radiotherapy([3.0], 2.0, alpha=0.2)])
    treated = simulate(FisherKPP(LINE, **rates), fraction, u, [6.0], max_step=0.25).require_success().states[0]
    split = simulate(model, fraction, state, [6.0], max_step=0.25).require_success().states
    np.testing.assert_allclose(split["proliferating"][0], treated, rtol=2e-4)


def test_a_necrotic_core_forms_within_a_rim():
    domain = Domain(np.ones(160), (1.0,))
    model = ProliferatingNecrotic(domain)
    seed = PointSeed([79.5])(domain)
    state = model.initial_state(seed)
    later = simulate(model, Regimen(), state, [300.0]).require_success().states
    p, n, s = (np.asarray(later[name][0]) for name in ("proliferating", "necrotic", "nutrient"))
    centre, rim = 80, int(np.argmax(p))
    assert n[centre] > 0.8 > 0.1 > n[rim]
    assert p[centre] < 0.5 * p[rim]
    assert abs(rim - centre) > 5
    assert s[centre] < float(model.nutrient_threshold) < s[rim]
    quantities = model.quantities(jax.tree.map(lambda field: field[0], later))
    np.testing.assert_allclose(quantities["necrotic_volume_mm3"], n.sum())
    np.testing.assert_allclose(model.cell_density({"proliferating": p, "necrotic": n, "nutrient": s}), p + n)


def test_treatment_takes_living_cells_alone():
    state = mixture()
    after = ProliferatingNecrotic(LINE).apply_survival(state, jnp.asarray(0.4))
    np.testing.assert_allclose(after["proliferating"], 0.4 * state["proliferating"])
    np.testing.assert_array_equal(after["necrotic"], state["necrotic"])
    model = ProliferatingNecrotic(LINE)
    forcing = [Forcing(jnp.asarray(kill), model.transport(None)) for kill in (0.0, 0.3)]
    without, killed = (model.vector_field(0.0, state, one) for one in forcing)
    np.testing.assert_allclose(killed["proliferating"] - without["proliferating"], -0.3 * state["proliferating"])
    np.testing.assert_array_equal(killed["nutrient"], without["nutrient"])


def test_initial_state_adds_up():
    size = jnp.linspace(0.0, 1.0, 24)
    model = ProliferatingNecrotic(LINE)
    state = model.initial_state(size)
    np.testing.assert_allclose(model.cell_density(state), size)
    assert float(state["necrotic"][-1]) > 0.9 and float(state["necrotic"][6]) < 1e-3
    starving = jnp.interp(0.9, size, state["nutrient"])
    np.testing.assert_allclose(starving, model.nutrient_threshold, rtol=1e-6)
    scarce = eqx.tree_at(lambda m: m.nutrient_threshold, model, jnp.asarray(0.05)).initial_state(size)
    assert float(scarce["nutrient"].min()) == 0


@pytest.mark.thorough
def test_gradients_agree_with_differences():
    names = ("nutrient_threshold", "nutrient_uptake", "necrosis_rate", "diffusivity")
    model = ProliferatingNecrotic(LINE, **FAST)
    fractions = Regimen([Radiotherapy([2.0, 3.0], 2.0, alpha=0.1)])

    @jax.jit
    def outcome(values):
        changed = eqx.tree_at(lambda m: [getattr(m, name) for name in names], model, list(values))
        return jnp.sum(simulate(changed, fractions, mixture(), [6.0]).states["necrotic"][0] ** 2)

    values, step = jnp.stack([getattr(model, name) for name in names]), 1e-5
    moves = step * jnp.eye(len(names))
    differences = np.array([outcome(values + move) - outcome(values - move) for move in moves]) / (2 * step)
    assert (np.abs(differences) > 1e-4).all()
    np.testing.assert_allclose(jax.jit(jax.grad(outcome))(values), differences, rtol=2e-5)


def test_another_domain():
    model = ProliferatingNecrotic(Domain(np.ones((4, 4)), (1.0, 1.0)), resolution_mm=2.0)
    assert model.domain.shape == (2, 2)
    assert model.on(LINE).domain.shape == (24,)
