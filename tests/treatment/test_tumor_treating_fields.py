"""Tumour treating fields: a constant rate while worn, none by default."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import FisherKPP
from twinjax.simulation import simulate
from twinjax.treatment import TumorTreatingFields, tumor_treating_fields_course

LINE = Domain(np.ones(4), (1.0,))


def grown(regimen, days):
    model = FisherKPP(LINE, diffusivity=0.0, proliferation_rate=0.05, carrying_capacity=1e6)
    return np.asarray(simulate(model, regimen, np.full(4, 0.1), days, max_step=0.5).require_success().states)[:, 0]


def test_no_effect_unless_a_rate_is_given():
    (device,) = tumor_treating_fields_course(0.0, 28).treatments
    assert float(device.exposure(0.0, 40.0)) == 0
    assert float(device.kill_rate(3.0)) == 0
    assert float(device.usage[0]) == 0.75


def test_exponential_growth_less_the_use():
    """u exp((rho - kappa f) t) while worn, exp(rho t) after it."""
    course = tumor_treating_fields_course(2.0, 20, usage=0.6, full_usage_kill_rate=0.03)
    days = np.array([2.0, 12.0, 22.0, 30.0])
    worn = np.clip(days - 2, 0, 20)
    np.testing.assert_allclose(grown(course, days), 0.1 * np.exp(0.05 * days - 0.018 * worn), rtol=1e-4)


def test_exposure_is_the_integral_of_the_rate():
    device = TumorTreatingFields([0.0, 10.0], [7.0, 2.0], [0.5, 0.9], full_usage_kill_rate=0.1)
    fine = np.linspace(3.0, 15.0, 120001)
    rates = np.asarray(jax.vmap(device.kill_rate)(jnp.asarray(fine)))
    np.testing.assert_allclose(device.exposure(3.0, 15.0), np.trapezoid(rates, fine), rtol=1e-4)
    np.testing.assert_allclose(device.exposure(3.0, 15.0), 0.1 * (0.5 * 4 + 0.9 * 2), rtol=1e-12)
    kills = device.kills(3.0, 15.0)
    np.testing.assert_allclose(kills.elapsed, [2.0, 8.0])


def test_it_is_cut_between_intervals():
    course = tumor_treating_fields_course(0.0, 30, usage=0.75)
    (device,) = course.treatments
    np.testing.assert_allclose(device.durations, [7, 7, 7, 7, 2])
    assert device.burden() == {"days_of_use": 30.0, "days_worn": 22.5}
    (early,) = course.before(14.0).treatments
    np.testing.assert_allclose(early.times, [0, 7])
    np.testing.assert_allclose(course.shifted(5.0).treatments[0].times[:2], [5, 12])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(([0.0], [0.0], 0.5), "duration"), (([0.0], [7.0], 1.2), "fraction of the day"), (([0.0], [7.0], -0.1), "usage")],
)
def test_bad_use_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        TumorTreatingFields(*arguments)


def test_a_course_has_days():
    with pytest.raises(InputError, match="must be positive"):
        tumor_treating_fields_course(0.0, 0)
