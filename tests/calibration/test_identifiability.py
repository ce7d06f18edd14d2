"""Fisher information, combinations and profiles against problems whose answer is known."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import line
import numpy as np
import pytest
from scipy.stats import chi2

from twinjax.calibration import (
    Datum,
    Identifiability,
    InverseProblem,
    LevenbergMarquardt,
    Prior,
    Profile,
    fisher_information,
    identify,
    profile_likelihood,
)
from twinjax.core.errors import InputError
from twinjax.model import DensityField, FisherKPP
from twinjax.observation import PETObservation, SegmentationObservation
from twinjax.treatment import Regimen

KEY = jax.random.key(0)
LOGS = Prior(
    {
        "diffusivity": {"distribution": ("lognormal", 0.3, 0.5), "where": "model.diffusivity", "unit": "mm²/day"},
        "proliferation_rate": {"distribution": ("lognormal", 0.04, 0.5), "where": "model.proliferation_rate"},
        "alpha": {"distribution": ("lognormal", 0.03, 0.25), "where": "regimen.radiotherapy.alpha"},
    }
).parameters


def uptake_problem(density, noise_std=0.1):
    """PET as background + scale u of a known density: a straight line in both parameters."""
    index = np.arange(line.N)
    prior = Prior(
        {
            "background": {"distribution": ("normal", 0.2, 0.3), "where": "observation.pet.background"},
            "scale": {"distribution": ("normal", 0.8, 0.4), "where": "observation.pet.scale", "unit": "1"},
        }
    )
    pet = PETObservation(noise_std=noise_std, discrepancy_std=0.0, correlation_length_mm=1.0)
    data = [Datum(0.0, "pet", 0.5 + 0.9 * density, index)]
    start = DensityField(jnp.asarray(density))
    problem = InverseProblem(FisherKPP(line.DOMAIN), Regimen(), start, {"pet": pet}, data, prior)
    return problem, np.stack([np.full(line.N, 0.3), 0.4 * density], axis=1) / noise_std


@pytest.fixture(scope="module")
def linear():
    problem, design = uptake_problem(line.START)
    return LevenbergMarquardt(estimate_noise=False, draws=4000, tolerance=1e-6).fit(problem, key=KEY), design


def test_the_information_of_a_linear_problem_is_that_of_its_design(linear):
    posterior, design = linear
    np.testing.assert_allclose(fisher_information(posterior.problem, posterior.z_map), design.T @ design, rtol=1e-9)
    found = identify(posterior)
    values = np.linalg.eigvalsh(design.T @ design)[::-1]
    np.testing.assert_allclose([direction.information for direction in found.directions], values, rtol=1e-9)
    assert [found.verdict(name) for name in found.names] == ["data", "data"]
    assert found.warnings == []


def test_the_profile_of_a_linear_problem_is_a_parabola(linear):
    """The interval is that of least squares without the prior: value ± sqrt(chi-square) deviations."""
    posterior, design = linear
    profile = profile_likelihood(posterior, "scale")
    deviation = 0.4 * np.sqrt(np.linalg.inv(design.T @ design)[1, 1])
    expected = 0.9 + deviation * np.sqrt(chi2.ppf(0.95, 1)) * np.array([-1, 1])
    np.testing.assert_allclose(profile.interval, expected, rtol=2e-3)
    np.testing.assert_allclose(profile.misfit, ((profile.values - 0.9) / deviation) ** 2, atol=2e-2)
    assert (profile.name, profile.unit) == ("scale", "1")
    assert (np.diff(profile.z) > 0).all()


def test_what_the_data_do_not_bound_stays_open(linear):
    """An even density cannot tell background from uptake: only the sum 0.3 z0 + 0.4 u z1 is known."""
    problem, _ = uptake_problem(np.full(line.N, 0.75))
    posterior = LevenbergMarquardt(estimate_noise=False).fit(problem, key=KEY)
    found = identify(posterior, profile=True)
    assert all(profile.interval == (None, None) for profile in found.profiles.values())
    assert all(profile.misfit.max() < 1e-3 for profile in found.profiles.values())
    assert [found.verdict(name) for name in found.names] == ["only in combination"] * 2
    known, unknown = found.directions
    np.testing.assert_allclose(np.abs(known.weights), [np.sqrt(0.5)] * 2, rtol=1e-6)
    assert known.known and not unknown.known and unknown.remaining == pytest.approx(1.0)
    assert found.warnings[0] == (
        f"Background and scale are not known one by one: the data know {known.name}, and the prior the rest."
    )
    assert known.name in (
        "the sum +0.7 background +0.7 scale (in prior deviations)",
        "the sum +0.7 scale +0.7 background (in prior deviations)",
    )
    assert "The data alone do not bound background on either side: its profile likelihood stays open." in found.warnings


@pytest.mark.thorough
def test_the_place_of_a_front_tells_a_product_of_diffusivity_and_proliferation():
    """One mask of a tumour that grew from a seed for a known time: its reach is known, and neither part of the speed.

    The speed is 2 sqrt(D rho), a product with equal powers; the time in which the seed becomes a front gives the
    proliferation rate more than its half.
    """
    observation = SegmentationObservation(line.DOMAIN, 0.3, noise_std=0.3, correlation_length_mm=1.0)
    model, start = FisherKPP(line.DOMAIN), DensityField(0.5 * jnp.exp(-(jnp.arange(line.N) ** 2) / 8))
    prior = Prior(
        {
            "diffusivity": {"distribution": ("lognormal", 0.3, 0.5), "where": "model.diffusivity"},
            "proliferation_rate": {"distribution": ("lognormal", 0.2, 0.5), "where": "model.proliferation_rate"},
        }
    )

    def problem(mask):
        data = [Datum(60.0, "mask", mask, np.arange(line.N))]
        return InverseProblem(model, Regimen(), start, {"mask": observation}, data, prior, max_step=5.0)

    (seen,), _ = problem(np.zeros(line.N)).predictions(jnp.zeros(2))
    method = LevenbergMarquardt(draws=2000, estimate_noise=False)
    found = identify(method.fit(problem((np.asarray(seen) > 0.5).astype(float)), key=KEY))
    assert found.verdict("diffusivity") == "only in combination"
    assert min(found.with_others.values()) > 0.98 > 0.5 > found.contraction["diffusivity"]
    combination = found.directions[0]
    assert combination.name.startswith("proliferation rate × diffusivity")
    assert 0.4 < combination.weights[0] / combination.weights[1] < 1.0
    assert found.directions[1].remaining > 0.9
    assert found.warnings == [
        f"Diffusivity is not known by itself: the data know {combination.name}, and the prior the rest."
    ]
    assert found.correlation[0, 1] < -0.8


def made(information, z=None) -> Identifiability:
    information = np.asarray(information, float)
    if z is None:
        covariance = np.linalg.inv(information + np.eye(3))
        z = np.random.default_rng(0).multivariate_normal(np.zeros(3), covariance, 4000)
    return Identifiability.of(LOGS, information, z)


def test_names_of_products_carry_their_powers():
    """In z = log(value / median) / sigma: equal weights of D (sigma 0.5) and alpha (0.25) are D alpha²."""
    found = made([[100, 0, -100], [0, 0, 0], [-100, 0, 100]])
    assert found.directions[0].name in ("diffusivity / alpha^2", "alpha / diffusivity^0.5")
    assert (
        found.warnings[0]
        == "The data say next to nothing about proliferation rate: what is reported is mostly the prior."
    )
    assert found.warnings[1].startswith("Diffusivity and alpha are not known one by one: the data know ")


def test_parameters_that_are_known_but_trade_off_are_told():
    found = made([[1000, 980, 0], [980, 1000, 0], [0, 0, 50]])
    assert [found.verdict(name) for name in found.names] == ["data"] * 3
    assert found.warnings == [
        f"Diffusivity and proliferation rate trade off (r = {found.correlation[0, 1]:+.2f}): read their intervals "
        "together."
    ]
    assert found.partner("diffusivity") == ("proliferation_rate", found.correlation[0, 1])


def test_rows_tell_all_of_it():
    profile = Profile("alpha", "1/Gy", np.arange(3.0), np.arange(3.0), np.array([5.0, 0.0, 1.0]), 3.84)
    found = replace(
        made(np.eye(3) * 50), profiles={name: profile for name in ("diffusivity", "proliferation_rate", "alpha")}
    )
    row = found.rows()[2]
    assert row["parameter"] == "alpha" and row["informed_by"] == "data"
    assert row["contraction_if_others_were_known"] == pytest.approx(50 / 51)
    assert 0 < row["profile_lower_95"] < 1 and row["profile_upper_95"] is None
    assert any("from above" in warning for warning in found.warnings)


def test_what_cannot_be_computed_is_refused(linear):
    posterior, _ = linear
    with pytest.raises(InputError, match="attached to its problem"):
        identify(replace(posterior, problem=None))
    with pytest.raises(InputError, match="'rho' has no profile"):
        profile_likelihood(posterior, "rho")
