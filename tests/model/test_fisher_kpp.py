"""Fisher-KPP: tissue-dependent diffusivity, one physics for all solvers, and its form without a clock."""

import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import FisherKPP, Forcing, PointSeed, UntimedFisherKPP
from twinjax.simulation import simulate
from twinjax.treatment import Regimen

RNG = np.random.default_rng(0)
WHITE = RNG.random((14, 11))
MASK = RNG.random(WHITE.shape) < 0.9


@pytest.fixture
def domain() -> Domain:
    return Domain(MASK, (1.5, 2.0), white_matter=WHITE, grey_matter=1 - WHITE)


def test_diffusivity_is_that_of_white_matter_or_a_ratio_below(domain):
    model = FisherKPP(domain, diffusivity=0.2, white_grey_ratio=5.0)
    np.testing.assert_allclose(model.diffusivity_map(), 0.2 * (WHITE + (1 - WHITE) / 5) * MASK, rtol=1e-12)


@pytest.mark.parametrize("growth", ["logistic", "gompertz"])
def test_vector_field_is_reaction_plus_diffusion(domain, growth):
    model = FisherKPP(domain, diffusivity=0.2, proliferation_rate=0.06, carrying_capacity=0.8, growth=growth)
    u, kill = jnp.asarray(0.1 + 0.5 * RNG.random(domain.shape)), jnp.array(0.02)
    operator = model.transport(None)
    field = model.vector_field(0.0, u, Forcing(kill, operator))
    per_cell = 1 - u / 0.8 if growth == "logistic" else jnp.log(0.8 / u)
    np.testing.assert_allclose(field - operator(u), 0.06 * u * per_cell - 0.02 * u, atol=1e-14)
    np.testing.assert_allclose(model.reaction(u, kill), field - operator(u), atol=1e-14)
    assert float(jnp.abs(operator(u)).max()) > 1e-3


def test_removed_tissue_takes_no_part_in_transport(domain):
    open_tissue = np.ones(domain.shape)
    open_tissue[4:7, 3:6] = 0
    model = FisherKPP(domain)
    hole = FisherKPP(Domain(MASK & (open_tissue > 0), (1.5, 2.0), white_matter=WHITE, grey_matter=1 - WHITE))
    u = jnp.asarray(RNG.random(domain.shape))
    change = model.transport(jnp.asarray(open_tissue))(u)
    np.testing.assert_allclose(change, hole.transport(None)(u), atol=1e-14)
    assert float(jnp.abs(change - model.transport(None)(u)).max()) > 1e-3


def test_front_speed_and_width():
    model = FisherKPP(Domain(np.ones(3), (1.0,)), diffusivity=0.1, proliferation_rate=0.05)
    np.testing.assert_allclose(model.front_speed, 0.1414, atol=5e-5)
    np.testing.assert_allclose(model.front_width, 2**0.5)


def test_resolution_and_domain_can_be_changed(domain):
    model = FisherKPP(domain, resolution_mm=3.0, diffusivity=0.4)
    assert model.domain.spacing == (3.0, 3.0)
    back = model.on(domain)
    assert back.domain.shape == domain.shape
    assert float(back.diffusivity) == 0.4


def test_unknown_growth_is_refused(domain):
    with pytest.raises(InputError, match="growth 'linear' is unknown"):
        FisherKPP(domain, growth="linear")


def test_untimed_model_is_the_timed_one_in_another_clock(domain):
    """Width and length alone determine the scan: D and rho over T days give the same as w and L."""
    diffusivity, rate, age = 0.15, 0.04, 120.0
    timed = FisherKPP(domain, diffusivity=diffusivity, proliferation_rate=rate, white_grey_ratio=8.0)
    untimed = UntimedFisherKPP(
        domain,
        front_width=(diffusivity / rate) ** 0.5,
        growth_length=2 * (diffusivity * rate) ** 0.5 * age,
        white_grey_ratio=8.0,
    )
    state0 = PointSeed([9.0, 10.0])(domain)
    expected = simulate(timed, Regimen(), state0, [age]).require_success().states[0]
    got = simulate(untimed, Regimen(), state0, [1.0], max_step=1 / age).require_success().states[0]
    assert 0.05 < float(jnp.median(expected)) < 0.95
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_untimed_model_at_a_known_speed(domain):
    untimed = UntimedFisherKPP(domain, front_width=3.0, growth_length=40.0, white_grey_ratio=7.0)
    model = untimed.at_front_speed(0.12)
    np.testing.assert_allclose([model.front_speed, model.front_width, model.white_grey_ratio], [0.12, 3.0, 7.0])
    np.testing.assert_allclose([untimed.timed.front_speed, untimed.timed.front_width], [40.0, 3.0])
    coarse = domain.resampled(3.0)
    assert untimed.on(coarse).domain.shape == coarse.shape
