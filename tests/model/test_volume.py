"""Volume without space: solvers against the closed form, sizes on a ruler, treatments that act on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.model import Forcing, VolumeModel
from twinjax.simulation import simulate
from twinjax.treatment import Radiotherapy, Regimen, SaturatedRadiotherapy, with_proliferation_saturation
from twinjax.treatment import radiotherapy_course as course

LAWS = pytest.mark.parametrize("growth", ["gompertz", "logistic"])


def model(growth="gompertz", **parameters):
    return VolumeModel(growth=growth, **({"proliferation_rate": 0.01, "carrying_capacity_mm3": 8e4} | parameters))


def final(tumor, regimen, size, day):
    return simulate(tumor, regimen, tumor.initial_state(jnp.asarray(size)), [day]).require_success().states[-1]


@LAWS
def test_the_solver_finds_the_closed_form(growth):
    tumor = model(growth)
    np.testing.assert_allclose(final(tumor, Regimen(), 3e4, 200.0), tumor.untreated(jnp.array(3e4), 200.0), rtol=1e-6)


def test_fractions_and_growth_alternate():
    """Against closed-form growth between two fractions."""
    tumor, regimen = model(), Regimen([Radiotherapy([10.0, 25.0], 2.0, alpha=0.1)])
    survival = np.exp(-0.1 * 2 * 1.2)
    volume = tumor.untreated(jnp.array(3e4), 10.0) * survival
    volume = tumor.untreated(volume, 15.0) * survival
    np.testing.assert_allclose(final(tumor, regimen, 3e4, 60.0), tumor.untreated(volume, 35.0), rtol=1e-6)


def test_lesions_grow_side_by_side():
    tumor = model()
    together = final(tumor, Regimen(), [1e3, 2e4], 90.0)
    np.testing.assert_allclose(together, [final(tumor, Regimen(), v, 90.0) for v in (1e3, 2e4)], rtol=1e-6)
    found = tumor.quantities(together)
    np.testing.assert_allclose(found["volume_mm3"], together.sum(), rtol=1e-12)
    np.testing.assert_allclose(found["sum_of_diameters_mm"], np.cbrt(6 * together / np.pi).sum(), rtol=1e-12)
    assert "diameter_mm" not in found


def test_a_sphere_has_its_diameter_and_nothing_has_none():
    np.testing.assert_allclose(model().quantities(jnp.array(np.pi / 6 * 30.0**3))["diameter_mm"], 30.0, rtol=1e-12)
    diameter, slope = jax.value_and_grad(lambda v: model().quantities(v)["diameter_mm"])(jnp.array(0.0))
    assert diameter == 0 and slope == 0


def test_checkpoint_blockade_kills_by_its_level():
    tumor = model(checkpoint_kill_rate=0.02)
    forced = Forcing(jnp.array(0.01), None, {"checkpoint_blockade": jnp.array(0.5)})
    plain = tumor.vector_field(0.0, jnp.array(1e4), Forcing(jnp.array(0.0)))
    np.testing.assert_allclose(plain - tumor.vector_field(0.0, jnp.array(1e4), forced), 0.02 * 1e4, rtol=1e-12)


def test_saturated_radiotherapy_spares_what_does_not_divide():
    """At V = K nothing is killed, in a small tumour as much as without saturation."""
    whole = Radiotherapy([0.0], 2.0, alpha=0.3)
    saturated = SaturatedRadiotherapy(whole)
    survival = [saturated.survival(0, jnp.asarray(u)) for u in (0.0, 0.6, 1.0)]
    killed = 1 - float(whole.survival(0, jnp.ones(())))
    np.testing.assert_allclose(survival, [1 - killed, 1 - 0.4 * killed, 1.0], rtol=1e-12)
    still = model(proliferation_rate=0.0)
    np.testing.assert_allclose(final(still, Regimen([saturated]), 4.8e4, 1.0), 4.8e4 * (1 - 0.4 * killed), rtol=1e-12)


def test_saturation_of_a_whole_regimen_keeps_days_doses_and_sensitivity():
    plain = course(3, 5, 2.0, alpha=0.04)
    saturated = with_proliferation_saturation(plain).shifted(2).before(9)
    (treatment,) = saturated.treatments
    assert isinstance(treatment, SaturatedRadiotherapy)
    (expected,) = plain.shifted(2).before(9).treatments
    np.testing.assert_allclose(treatment.times, expected.times)
    assert saturated.burden() == Regimen([expected]).burden()


@pytest.mark.thorough
def test_gradients_reach_every_parameter():
    """Reverse mode through the solver against central differences."""
    regimen = Regimen([SaturatedRadiotherapy(Radiotherapy([10.0, 20.0], 2.0, alpha=0.1))])

    def volume(p):
        tumor = model(proliferation_rate=p[0], carrying_capacity_mm3=p[1] * 1e5)
        return jnp.log(final(tumor, regimen, p[2] * 1e4, 60.0))

    at = jnp.array([0.01, 0.8, 3.0])
    slope = jax.grad(volume)(at)
    for i, step in enumerate(1e-4 * at):
        e = jnp.zeros(3).at[i].set(step)
        np.testing.assert_allclose(slope[i], (volume(at + e) - volume(at - e)) / (2 * step), rtol=1e-5)


def test_surgery_needs_space():
    with pytest.raises(InputError, match="leave it out of the regimen"):
        model().transport(jnp.ones(3))


def test_single_precision_stays_single():
    with jax.enable_x64(False):
        assert model().untreated(jnp.asarray(3e4), 10.0).dtype == jnp.float32
