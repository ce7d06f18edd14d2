"""Linear pharmacokinetics against the differential equations that they solve, and their derivatives."""

import dataclasses
from itertools import pairwise

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.pharmacokinetics import Compartments, Dosing, LinearPharmacokinetics, linear_pharmacokinetics
from twinjax.pharmacokinetics.linear import Absorption

# A bolus, an infusion, one that overlaps with the next, and doses long after.
HISTORY = Dosing([1.0, 2.5, 2.6, 9.0], [100.0, 80.0, 50.0, 120.0], [0.0, 0.4, 1.5, 1 / 48])
TIMES = np.array([0.5, 1.0, 1.02, 2.0, 2.55, 2.7, 3.5, 4.2, 9.0, 9.01, 9.3, 12.0])
ORAL = linear_pharmacokinetics(
    "oral",
    clearance_l_per_day=40.0,
    volume_l=30.0,
    peripheral=[{"clearance_l_per_day": 20.0, "volume_l": 50.0}],
    absorption=[{"rate_per_day": 8.0, "fraction": 0.6}, {"rate_per_day": 0.3, "fraction": 0.3}],
)
GEMCITABINE, IRINOTECAN = load_named("pharmacokinetics", "gemcitabine"), load_named("pharmacokinetics", "irinotecan")
MODELS = {
    "one": LinearPharmacokinetics("one", Compartments(30.0, 10.0)),
    "three": LinearPharmacokinetics("three", Compartments(30.0, 10.0, [20.0, 5.0], [40.0, 90.0])),
    "alike": LinearPharmacokinetics("alike", Compartments(30.0, 10.0, [20.0, 20.0], [40.0, 40.0])),
    "oral": ORAL,
    "sn38": IRINOTECAN.metabolite("sn38"),
}


def flow_out(disposition, amounts):
    """Change of the amounts (mg/day) in central and peripheral compartments."""
    central = amounts[0] / disposition.volume
    exchange = disposition.flows * (central - amounts[1:] / disposition.volumes)
    return jnp.concatenate([-(disposition.clearance * central + exchange.sum())[None], exchange])


def integrated(model, dosing, times):
    """Concentration and its integral from day 0 at `times`, from the compartments themselves by diffrax."""
    source, own = model.source, model.disposition
    before = 0
    if source is not None:
        before = source.rates.size if isinstance(source, Absorption) else 1 + source.parent.flows.size
    size = before + 1 + own.flows.size

    def change(t, y, infusions):
        rate = jnp.sum(
            jnp.where((t >= infusions.times) & (t < infusions.times + infusions.durations), infusions.amounts, 0)
        )
        fore, main = y[:before], y[before:size]
        if isinstance(source, Absorption):
            fed, fore = source.rates @ fore, source.fractions * rate - source.rates * fore
        elif source is not None:
            fed, fore = source.clearance * fore[0] / source.parent.volume, flow_out(source.parent, fore).at[0].add(rate)
        else:
            fed = rate
        main = flow_out(own, main).at[0].add(fed)
        return jnp.concatenate([fore, main, y[before][None] / own.volume])

    rates = Dosing(
        dosing.times,
        np.where(dosing.durations > 0, dosing.amounts / np.maximum(dosing.durations, 1e-9), 0),
        dosing.durations,
    )
    cuts = np.unique(np.concatenate([[0.0], dosing.times, dosing.times + dosing.durations, times]))
    y, found = jnp.zeros(size + 1), {}
    solver, controller = diffrax.Kvaerno5(), diffrax.PIDController(rtol=1e-10, atol=1e-13)
    step = eqx.filter_jit(
        lambda y, a, b: diffrax.diffeqsolve(
            # Just inside the stretch, where no infusion begins or ends.
            diffrax.ODETerm(lambda t, y, args: change((a + b) / 2, y, rates)),
            solver,
            a,
            b,
            None,
            y,
            stepsize_controller=controller,
            max_steps=100_000,
        ).ys[-1]
    )
    for a, b in zip([0.0, *cuts[:-1]], cuts, strict=True):
        y = step(y, a, b) if b > a else y
        bolus = float(np.sum(np.where((dosing.times == b) & (dosing.durations == 0), dosing.amounts, 0)))
        entry = source.fractions if isinstance(source, Absorption) else jnp.ones(1)
        y = y.at[: entry.size].add(bolus * entry)
        found[b] = (float(y[before] / own.volume), float(y[-1]))
    return np.array([found[t] for t in times]).T


@pytest.mark.parametrize(
    "name", ["one", *(pytest.param(name, marks=pytest.mark.thorough) for name in MODELS if name != "one")]
)
def test_concentration_and_exposure_solve_the_compartments(name):
    concentration, exposure = integrated(MODELS[name], HISTORY, TIMES)
    np.testing.assert_allclose(MODELS[name].concentration(HISTORY, TIMES), concentration, rtol=2e-7, atol=1e-9)
    exposed = eqx.filter_jit(MODELS[name].exposure)
    found = [exposed(HISTORY, 0.0, t) for t in jnp.array(TIMES)]
    np.testing.assert_allclose(found, exposure, rtol=2e-7, atol=1e-9)


@pytest.mark.parametrize(
    "name",
    [pytest.param("three", marks=pytest.mark.thorough), "oral", pytest.param("sn38", marks=pytest.mark.thorough)],
)
def test_each_dose_has_its_share_and_mean_instant(name):
    """By Gauss quadrature between all cuts."""
    model, start, stop = MODELS[name], 2.2, 9.8
    concentration = eqx.filter_jit(model.concentration)
    shares, instants = model.moments(HISTORY, start, stop)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    for k in range(4):
        one = Dosing(HISTORY.times[k], HISTORY.amounts[k], HISTORY.durations[k])
        edges = [max(start, float(one.times[0])), float((one.times + one.durations)[0])]
        edges = np.unique(np.clip([*edges, *(edges[1] + np.geomspace(0.01, 8, 24)), stop], edges[0], stop))
        total = weighted = 0.0
        for a, b in pairwise(edges):
            t = (a + b) / 2 + (b - a) / 2 * nodes
            c = np.asarray(concentration(one, t)) * weights * (b - a) / 2
            total, weighted = total + c.sum(), weighted + (c * (t - start)).sum()
        np.testing.assert_allclose([shares[k], instants[k]], [total, weighted / total], rtol=1e-9)


exposed = eqx.filter_jit(MODELS["oral"].exposure)


@settings(max_examples=25)
@given(cut=st.floats(0, 14), stop=st.floats(0, 14))
def test_exposures_add_up(cut, stop):
    start, cut, stop = jnp.array([0.0, cut, max(cut, stop)])
    whole, parts = exposed(HISTORY, start, stop), exposed(HISTORY, start, cut) + exposed(HISTORY, cut, stop)
    np.testing.assert_allclose(parts, whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", MODELS)
def test_long_after_the_exposure_is_the_dose_over_the_clearance(name):
    model = MODELS[name]
    bioavailable = {"oral": 0.9, "sn38": 0.216 / 22.8}.get(name, 1.0)
    expected = bioavailable * 350.0 / model.disposition.clearance
    np.testing.assert_allclose(model.exposure(HISTORY, 0.0, 1e5), expected, rtol=1e-9)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("alike", marks=pytest.mark.thorough),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("oral", "sn38")),
    ],
)
def test_derivatives_agree_with_differences(name):
    """In all parameters, doses, times of dose and lengths of infusion together, along several directions.

    In both modes; without a bolus, at whose time nothing is differentiable.
    """
    pair = (MODELS[name], Dosing(HISTORY.times, HISTORY.amounts, [0.2, 0.4, 1.5, 0.1]))
    leaves, rest = eqx.partition(pair, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(leaves)

    def told(values):
        model, dosing = eqx.combine(unravel(values), rest)
        shares, instants = model.moments(dosing, 2.2, 9.85)
        return jnp.concatenate([model.concentration(dosing, jnp.array([2.55, 2.71, 3.5, 9.33])), shares, instants])

    @jax.jit
    def both(values, along, weights):
        (value, forward), (_, pull) = jax.jvp(told, (values,), (along,)), jax.vjp(told, values)
        return value, forward, pull(weights)[0]

    random = np.random.default_rng(0)
    for _ in range(6):
        along, weights = flat * random.normal(size=flat.size), random.normal(size=12)
        _, forward, reverse = both(flat, along, weights)
        np.testing.assert_allclose(reverse @ along, weights @ forward, rtol=1e-9)
        ahead, behind = (both(flat + sign * 3e-6 * along, along, weights)[0] for sign in (1, -1))
        np.testing.assert_allclose(forward, (ahead - behind) / 6e-6, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param("three", "float32", marks=pytest.mark.thorough),
        pytest.param("oral", "float32", marks=pytest.mark.slow),
        pytest.param("sn38", "float64", marks=pytest.mark.slow),
    ],
)
def test_nothing_overflows_and_every_derivative_is_finite(name, dtype):
    """Before the first dose, on a dose, and years later; a bolus and rates that absorption equals."""
    times = jnp.array([0.0, 1.0, 2.5, 9.0, 9.5, 400.0, 1e5])
    model, dosing, times = in_precision(dtype, (MODELS[name], HISTORY, times))
    if name == "oral":
        model = dataclasses.replace(model, source=Absorption(model.disposition.modes()[0], model.source.fractions))
    leaves, rest = eqx.partition((model, dosing), eqx.is_inexact_array)

    def told(leaves, t):
        model, dosing = eqx.combine(leaves, rest)
        shares, instants = model.moments(dosing, jnp.zeros((), dtype), t)
        values = jnp.stack([model.concentration(dosing, t), shares.sum(), instants.sum()])
        return values.sum(), values

    gradients, values = jax.jit(jax.vmap(lambda t: jax.grad(told, has_aux=True)(leaves, t)))(times)
    assert values.dtype == dtype
    assert bool(jnp.isfinite(values).all()) and bool((values >= 0).all())
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradients))


def in_precision(dtype, tree):
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, tree)


@pytest.mark.thorough
def test_single_precision_keeps_its_digits():
    for name, model in MODELS.items():
        single, dosing = in_precision("float32", (model, HISTORY))
        expected = np.asarray(model.concentration(HISTORY, TIMES))
        found = single.concentration(dosing, TIMES.astype("float32"))
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5 * expected.max(), err_msg=name)


@pytest.mark.thorough
def test_amounts_of_metabolite_come_from_the_parent():
    """All of gemcitabine turns into dFdU (apparent values): the exposure is dose / apparent clearance."""
    dose = Dosing([0.0], [1730.0], [0.5 / 24])
    np.testing.assert_allclose(24 * GEMCITABINE.metabolite("dfdu").exposure(dose, 0.0, 1e4), 1730 / 2.4, rtol=1e-9)
    with pytest.raises(InputError, match="^gemcitabine has no metabolite 'dfdctp'; known: dfdu"):
        GEMCITABINE.metabolite("dfdctp")


def test_published_units_are_one_model():
    hour = linear_pharmacokinetics("x", clearance_l_per_hour=6.0, volume_l=10.0)
    minute = linear_pharmacokinetics("x", clearance_l_per_minute=0.1, volume_l=10.0)
    np.testing.assert_allclose(hour.disposition.clearance, 144.0)
    np.testing.assert_allclose(minute.disposition.clearance, 144.0, rtol=1e-12)
    np.testing.assert_allclose(24 * hour.half_lives(), np.log(2) * 10 / 6, rtol=1e-12)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"clearance": 3.0, "volume_l": 1.0}, "^x: 'clearance' ends in no known unit"),
        ({"clearance_l_per_hour": -3.0, "volume_l": 1.0}, "^x: clearance_l_per_hour must be a number above 0, got -3"),
        ({"clearance_l_per_hour": 3.0, "clearance_l_per_day": 3.0, "volume_l": 1.0}, "^x: clearance is given twice"),
        ({"clearance_l_per_hour": 3.0}, "^x: needs clearance, volume, each with its unit; see to volume"),
        ({"clearance_umol_per_hour": 3.0, "volume_l": 1.0}, "needs molar_mass_g_per_mol"),
        (
            {"clearance_l_per_hour": 3.0, "volume_l": 1.0, "absorption": [{"rate_per_hour": 1.0, "fraction": 1.2}]},
            "^x absorption: fraction must lie above 0 and not above 1, got 1.2",
        ),
        (
            {"clearance_l_per_hour": 3.0, "volume_l": 1.0, "peripheral": [{"volume_l": 1.0}]},
            "^x peripheral: needs clearance, volume",
        ),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(InputError, match=message):
        linear_pharmacokinetics("x", **parameters)
