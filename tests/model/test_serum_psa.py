"""Models of serum PSA without space: closed forms, published ratios, and the cell quota model against scipy."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from twinjax import model as models
from twinjax.model import AndrogenCellQuota, BiphasicPSA, Forcing, SecretionResponse, SwansonPSA
from twinjax.model.testosterone import mean_decay, mean_response
from twinjax.simulation import simulate
from twinjax.treatment import AndrogenDeprivation, Radiotherapy, Regimen, androgen_deprivation_cycles

TIGHT = diffrax.PIDController(rtol=1e-9, atol=1e-10)


def series(model, size, days, regimen=None, **settings):
    states = simulate(model, regimen or Regimen(), model.initial_state(jnp.asarray(size)), days, **settings)
    return jax.vmap(model.quantities)(states.require_success().states)


def test_swanson_follows_its_closed_form():
    model = SwansonPSA(growth_rate=np.log(2) / 365)
    state0 = model.initial_state(jnp.asarray(500.0))
    np.testing.assert_allclose(state0.psa, 3.7918, rtol=2e-5)
    days = jnp.array([30.0, 365.0, 913.0])
    got = series(model, 500.0, days, stepsize_controller=TIGHT)
    exact = model.closed_form(state0, days)
    np.testing.assert_allclose(got["psa_ng_ml"], exact.psa, rtol=1e-7)
    np.testing.assert_allclose(got["volume_mm3"], exact.volume, rtol=1e-7)
    np.testing.assert_allclose(exact.psa, [3.8500, 4.7836, 8.4159], rtol=2e-5)


def test_radiotherapy_acts_on_volume_at_once_and_on_psa_later():
    model = SwansonPSA(growth_rate=0.0)
    regimen = Regimen([Radiotherapy([1.0], 5.0, alpha=0.2, alpha_beta_ratio=1.5)])
    got = series(model, 500.0, [1.0, 1.01, 60.0], regimen, stepsize_controller=TIGHT)
    survival = np.exp(-0.2 * 5 * (1 + 5 / 1.5))
    np.testing.assert_allclose(got["volume_mm3"][1:] / 500, survival, rtol=1e-7)
    np.testing.assert_allclose(got["psa_ng_ml"][1], got["psa_ng_ml"][0], rtol=5e-3)
    np.testing.assert_allclose(got["psa_ng_ml"][2], 2.8 + survival, rtol=1e-5)


def test_biphasic_course_and_its_nadir():
    model, days = BiphasicPSA(), jnp.array([50.0, 206.8, 700.0])
    castrated = Regimen([AndrogenDeprivation([0.0], [1000.0])])
    got = series(model, 20.0, days, castrated, stepsize_controller=TIGHT)["psa_ng_ml"]
    published = 0.0194 * jnp.exp(6.54e-4 * days) + (1 - 0.0194) * jnp.exp(-0.0378 * days)
    np.testing.assert_allclose(got / 20, published, rtol=1e-7)
    day, depth = model.nadir
    # The parameters as published have three digits: R = 0.0194 to half a percent with its rounding.
    np.testing.assert_allclose([day, depth], [207, 0.0227], rtol=5e-3)
    assert float(got[1]) < min(float(got[0]), float(got[2]))


def test_biphasic_course_without_resistance_switches():
    model = BiphasicPSA(resistant_fraction=0.0, sensitive_growth_rate=0.01, decline_rate=0.03)
    regimen = androgen_deprivation_cycles(10.0, cycles=2, on_days=50.0, off_days=70.0)
    got = series(model, 8.0, [10.0, 60.0, 130.0, 180.0, 200.0], regimen, stepsize_controller=TIGHT)["psa_ng_ml"]
    np.testing.assert_allclose(np.log(got / 8), [0.1, -1.4, -0.7, -2.2, -2.0], rtol=1e-6)


def test_castrate_psa_is_that_published():
    response = SecretionResponse()
    np.testing.assert_allclose(response(jnp.asarray(15.0), 449.0), 0.0504, atol=5e-5)
    np.testing.assert_allclose(response(jnp.asarray(449.0), 449.0), 1.0)
    model = models.TestosteronePSA()
    regimen = Regimen([AndrogenDeprivation([0.0], [500.0])])
    got = series(model, 9.73, [400.0, 1200.0], regimen)
    np.testing.assert_allclose(got["psa_ng_ml"] / 9.73, [0.0504, 1.0], atol=1e-4)
    np.testing.assert_allclose(got["testosterone_ng_dl"], [15.0, 449.0], rtol=1e-5)


def test_testosterone_flow_is_exact():
    testosterone, level = models.Testosterone(), 0.7
    after, mean = testosterone.flow(300.0, 9.0, level)
    exact = solve_ivp(
        lambda t, y: [float(testosterone.change(y[0], level)), y[0]], (0, 9.0), [300.0, 0.0], rtol=1e-11, atol=1e-10
    ).y[:, -1]
    np.testing.assert_allclose([after, mean], [exact[0], exact[1] / 9], rtol=1e-8)


def test_means_over_a_step_are_smooth_at_zero():
    x = jnp.array([0.0, 1e-12, 9.9e-5, 1.01e-4, 0.0499, 0.0501, 3.0])
    with np.errstate(invalid="ignore", divide="ignore"):
        long = np.asarray(x, np.longdouble)
        decay = np.where(long > 1e-6, -np.expm1(-long) / long, 1 - long / 2)
        response = np.where(long > 1e-3, (long + np.expm1(-long)) / long**2, 0.5 - long / 6 + long**2 / 24)
    np.testing.assert_allclose(mean_decay(x), decay.astype(float), rtol=1e-11)
    np.testing.assert_allclose(mean_response(x), response.astype(float), rtol=1e-8)
    for function in (mean_decay, mean_response):
        assert bool(jnp.isfinite(jax.vmap(jax.grad(function))(x)).all())


QUOTA = AndrogenCellQuota(supply_rate=0.5)


def by_hand(t, y, m):
    """The right-hand side as published, with u = 1 off treatment, on days 30 to 280 and from 500 on."""
    x, y_, q, p = y
    u = 0.0 if 30 <= t < 280 or t >= 500 else 1.0
    ux, uy = m.growth_rate * max(1 - m.sensitive_quota / q, 0), m.growth_rate * max(1 - m.resistant_quota / q, 0)
    dx = m.sensitive_death_rate * m.sensitive_half_death / (q + m.sensitive_half_death)
    dy = m.resistant_death_rate * m.resistant_half_death / (q + m.resistant_half_death)
    mxy = m.to_resistant_rate * m.to_resistant_quota / (q + m.to_resistant_quota)
    myx = m.to_sensitive_rate * q / (q + m.to_sensitive_quota)
    return [
        (ux - dx - m.sensitive_crowding * x - mxy) * x + myx * y_,
        (uy - dy - m.resistant_crowding * y_ - myx) * y_ + mxy * x,
        (m.supply_rate * u + m.residual_supply_rate) * (m.largest_quota - q) - (ux * q * x + uy * q * y_) / (x + y_),
        m.baseline_secretion_rate * q + m.tumor_secretion_rate * (x + y_) * q - m.psa_clearance_rate * p,
    ]


@pytest.mark.thorough
def test_cell_quota_model_is_that_published():
    plain = jax.tree.map(float, QUOTA)
    state = jax.tree.leaves(jax.tree.map(float, QUOTA.initial_state(jnp.asarray(15.0))))
    expected, now = [], 0.0
    for stop in (30.0, 280.0, 500.0, 700.0):
        # A little before the switch, or the integrator would see the other side of it.
        piece = solve_ivp(
            lambda t, y, end=stop - 1e-9: by_hand(min(t, end), y, plain),
            (now, stop),
            state,
            "LSODA",
            rtol=1e-10,
            atol=1e-12,
        )
        state, now = piece.y[:, -1], stop
        expected.append(state)
    regimen = Regimen([AndrogenDeprivation([30.0, 500.0], [250.0, 300.0])])
    states = (
        simulate(
            QUOTA,
            regimen,
            QUOTA.initial_state(jnp.asarray(15.0)),
            [30.0, 280.0, 500.0, 700.0],
            solver=diffrax.Kvaerno5(),
            stepsize_controller=TIGHT,
        )
        .require_success()
        .states
    )
    np.testing.assert_allclose(np.stack(jax.tree.leaves(states), axis=1), expected, rtol=1e-5)
    assert float(states.psa[1]) < 0.3 * float(states.psa[0])
    np.testing.assert_allclose(QUOTA.cell_density(states)[0], np.sum(expected[0][:2]) * 9e-5 / 0.025, rtol=1e-5)


@pytest.mark.parametrize("psa", [0.0, 0.13, 15.0])
def test_cell_quota_derivatives_are_finite(psa):
    state = QUOTA.initial_state(jnp.asarray(psa))
    state = eqx.tree_at(lambda s: s.quota, state, jnp.asarray(0.0))

    def total(model):
        change = model.vector_field(0.0, state, Forcing(jnp.zeros(())))
        return sum(jax.tree.leaves(change))

    value, gradient = eqx.filter_value_and_grad(total)(QUOTA)
    assert bool(jnp.isfinite(value))
    assert all(bool(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
