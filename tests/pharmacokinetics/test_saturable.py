"""Saturable pharmacokinetics against SciPy in the published units, and their derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.pharmacokinetics import Dosing, NabPaclitaxelPharmacokinetics, PaclitaxelPharmacokinetics

MOLAR_MASS = 853.9  # µg/µmol


def paclitaxel(t, y, rate):
    """µmol and hours."""
    c = y[0] / 12
    out, there, outer = 33.8 * c / (0.44 + c), 177 * c / (1.61 + c) - 1.21 * y[1], 16.8 * (c - y[2] / 268)
    return [rate - out - there - outer, there, outer, c]


def nab_paclitaxel(t, y, rate):
    """µg and hours."""
    c, d, e = y[0] / 15.8, y[1] / 1650, y[2] / 75.4
    out, there, outer = 8070 * c / (40.2 + c), 325000 * (c / (4260 + c) - d / (4260 + d)), 41.6 * (c - e)
    return [rate - out - there - outer, there, outer, c]


# Published equations, mg to their amount, and their concentration to mg/L.
REFERENCES = {
    "paclitaxel": (paclitaxel, 1e3 / MOLAR_MASS, MOLAR_MASS / 1e3),
    "nab_paclitaxel": (nab_paclitaxel, 1e3, 1e-3),
}
# Two infusions of 3 h and 1 h, a day apart.
DOSING = Dosing([0.5, 1.5], [315.0, 144.0], [3 / 24, 1 / 24])
TIMES = np.array([0.2, 0.5, 0.55, 0.6, 0.625, 0.7, 1.0, 1.5, 1.53, 2.0, 5.0, 9.0])


@pytest.mark.parametrize("name", ["paclitaxel", pytest.param("nab_paclitaxel", marks=pytest.mark.thorough)])
def test_concentration_and_exposure_are_those_of_the_published_equations(name):
    change, amount, unit = REFERENCES[name]
    y, expected = np.zeros(4), {}
    cuts = np.unique([*TIMES, 0.5, 0.625, 1.5, 1.5 + 1 / 24])
    for begin, end in zip([0.0, *cuts[:-1]], cuts, strict=True):
        middle, rate = (begin + end) / 2, 0.0
        for time, dose, length in zip(DOSING.times, DOSING.amounts, DOSING.durations, strict=True):
            rate += float(dose * amount / (24 * length)) if time < middle < time + length else 0.0
        y = solve_ivp(change, (0, 24 * (end - begin)), y, "Radau", args=(rate,), rtol=1e-10, atol=1e-12).y[:, -1]
        expected[end] = (change(0, y, 0)[3] * unit, y[3] * unit / 24)
    model = load_named("pharmacokinetics", name)
    concentrations, exposures = np.array([expected[t] for t in TIMES]).T
    found = eqx.filter_jit(model.concentration)(DOSING, TIMES)
    np.testing.assert_allclose(found, concentrations, rtol=1e-6, atol=1e-10)
    exposure = eqx.filter_jit(model.exposure)
    np.testing.assert_allclose([exposure(DOSING, 0.0, t) for t in TIMES], exposures, rtol=1e-6, atol=1e-10)


@pytest.mark.thorough
def test_shares_and_mean_instants():
    """Of the exposure between the beginnings of doses, by the trapezium rule."""
    model = load_named("pharmacokinetics", "paclitaxel")
    shares, instants = eqx.filter_jit(model.moments)(DOSING, 0.55, 3.0)
    for share, instant, begin, end in zip(shares, instants, (0.55, 1.5), (1.5, 3.0), strict=True):
        t = np.unique(np.concatenate([np.linspace(begin, end, 2001), [0.625, 1.5 + 1 / 24]]).clip(begin, end))
        c = np.asarray(eqx.filter_jit(model.concentration)(DOSING, t))
        np.testing.assert_allclose(share, np.trapezoid(c, t), rtol=2e-5)
        np.testing.assert_allclose(instant, np.trapezoid(c * (t - 0.55), t) / np.trapezoid(c, t), rtol=2e-5)


@pytest.mark.slow
def test_derivatives_agree_with_differences():
    """In all parameters, doses, times and lengths of infusion along a direction, in both modes."""
    pair = (load_named("pharmacokinetics", "paclitaxel"), DOSING)
    leaves, rest = eqx.partition(pair, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(leaves)

    def told(values):
        model, dosing = eqx.combine(unravel(values), rest)
        shares, instants = model.moments(dosing, 0.55, 3.0)
        return jnp.concatenate([model.concentration(dosing, jnp.array([0.6, 2.0])), shares, instants])

    random = np.random.default_rng(1)
    along, weights = flat * random.normal(size=flat.size), random.normal(size=6)
    value = jax.jit(told)
    forward = jax.jit(lambda values: jax.jvp(told, (values,), (along,))[1])(flat)
    reverse = jax.jit(lambda values: jax.vjp(told, values)[1](weights)[0])(flat)
    np.testing.assert_allclose(reverse @ along, weights @ forward, rtol=1e-7)
    np.testing.assert_allclose(forward, (value(flat + 1e-4 * along) - value(flat - 1e-4 * along)) / 2e-4, rtol=1e-4)
    assert bool(jnp.isfinite(reverse).all())


@pytest.mark.thorough
def test_a_bolus_and_single_precision():
    model, dosing, times = jax.tree.map(
        lambda leaf: leaf.astype("float32") if eqx.is_inexact_array(leaf) else leaf,
        (load_named("pharmacokinetics", "paclitaxel"), Dosing([1.0], 120.0), jnp.array([0.5, 1.0, 8.0])),
    )
    found = model.concentration(dosing, times)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found[:2], [0.0, 10.0], rtol=1e-6)
    assert 0 < float(found[2]) < 0.01


def test_missing_and_unknown_parameters_are_refused():
    with pytest.raises(InputError, match="^paclitaxel: needs .*; see to elimination_constant"):
        PaclitaxelPharmacokinetics(volume_l=12.0)
    with pytest.raises(InputError, match="needs molar_mass_g_per_mol"):
        NabPaclitaxelPharmacokinetics(maximum_elimination_umol_per_hour=1.0)
