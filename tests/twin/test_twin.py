"""`DigitalTwin` and `Forecast`: what is refused, and what a forecast must be whatever the tumour."""

from dataclasses import replace

import bar
import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.calibration import Posterior
from twinjax.core.errors import InputError, SolverError
from twinjax.domain import Domain
from twinjax.model import FisherKPP
from twinjax.observation import QuantityObservation, visible_volume
from twinjax.simulation import simulate
from twinjax.treatment import Radiotherapy, Regimen
from twinjax.twin import DigitalTwin

# A front that outruns the first box.
FAST = (1.5, 1.5, 0.0)


def make(posterior: Posterior, *, uncertain: bool = True) -> DigitalTwin:
    return DigitalTwin(bar.MODEL, posterior.map_estimate, posterior.credible_interval(0.95) if uncertain else None)


@pytest.fixture(scope="module")
def twin():
    return make(bar.posterior())


@pytest.fixture(scope="module")
def forecast(twin):
    return twin.predict(20.0, [5.0, 10.0, 20.0], draws=20)


@pytest.fixture(scope="module")
def fast():
    return make(bar.posterior(z_map=FAST, spread=0.1))


def test_only_a_posterior_s_own_estimate_will_do(twin):
    posterior = twin.posterior
    with pytest.raises(InputError, match="a plain dict"):
        DigitalTwin(bar.MODEL, {"diffusivity": 0.1})
    unattached = Posterior(**{**vars(posterior), "problem": None})
    with pytest.raises(InputError, match=r"Posterior.attach"):
        DigitalTwin(bar.MODEL, unattached.map_estimate)
    with pytest.raises(InputError, match="different posteriors"):
        DigitalTwin(bar.MODEL, posterior.map_estimate, bar.posterior().credible_interval(0.95))


@pytest.mark.parametrize(
    "model",
    [
        FisherKPP(Domain(np.ones((48, 4, 5)), bar.SPACING)),
        FisherKPP(bar.DOMAIN, growth="gompertz"),
        FisherKPP(bar.DOMAIN, white_grey_ratio=5.0),
    ],
    ids=["grid", "growth", "constant"],
)
def test_a_foreign_model_is_refused(twin, model):
    with pytest.raises(InputError, match="not the one that was calibrated"):
        DigitalTwin(model, twin.posterior.map_estimate)


@pytest.mark.parametrize("horizon", [0.0, -5.0, float("nan"), float("inf")])
def test_a_horizon_is_a_positive_number_of_days(twin, horizon):
    with pytest.raises(InputError, match="horizon_days must be a number of days above 0"):
        twin.predict(horizon)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([10.0, 5.0], "ascending"),
        ([5.0, 5.0], "ascending"),
        ([], "ascending"),
        ([5.0, float("nan")], "ascending"),
        ([5.0, 21.0], r"in \[0, 20\]"),
        ([-1.0, 5.0], r"in \[0, 20\]"),
    ],
    ids=str,
)
def test_output_times_are_checked(twin, times, message):
    with pytest.raises(InputError, match=f"output_times must .*{message}"):
        twin.predict(20.0, times)


def test_a_forecast_is_a_distribution_of_densities(forecast):
    grid = forecast.domain.shape
    assert forecast.density_mean.shape == forecast.density_std.shape == (3, *grid)
    assert forecast.density_mean.min() >= 0
    assert forecast.density_mean.max() <= 1
    assert forecast.density_std.max() > 0.01
    core, whole = (forecast.visible_probability[name] for name in ("core", "whole_tumor"))
    assert core.shape == (3, *grid)
    assert whole.max() <= 1
    assert (core >= 0).all()
    assert (core <= whole).all()
    assert ((whole > 0) & (whole < 1)).any()
    assert forecast.failed_draws == 0
    assert {name: v.shape for name, v in forecast.quantities.items()} == dict.fromkeys(
        ("cell_volume_mm3", "core_volume_mm3", "whole_tumor_volume_mm3"), (20, 3)
    )
    total = forecast.density_mean.reshape(3, -1).sum(1) * 8.0
    np.testing.assert_allclose(forecast.quantities["cell_volume_mm3"].mean(0), total, rtol=1e-4)


@pytest.mark.parametrize("quantity", ["core_volume_mm3", "whole_tumor_volume_mm3"])
def test_intervals_are_ordered_and_nested(forecast, quantity):
    narrow, wide = forecast.interval(quantity, 0.5), forecast.interval(quantity, 0.9)
    assert (wide[0] < narrow[0]).all()
    assert (narrow[0] < narrow[1]).all()
    assert (narrow[1] < narrow[2]).all()
    assert (narrow[2] < wide[2]).all()


def test_a_measured_volume_is_less_certain_than_the_latent_one(forecast):
    latent = np.log(forecast.quantities["core_volume_mm3"] + 500).std(0)
    measured = np.log(forecast.measured("core_volume_mm3") + 500)
    assert measured.shape == (400, 3)
    expected = np.sqrt(latent**2 + forecast.volume_noise["core"] ** 2)
    np.testing.assert_allclose(measured.std(0), expected, rtol=0.1)
    low, _, high = forecast.interval("core_volume_mm3", measured=True)
    inner_low, _, inner_high = forecast.interval("core_volume_mm3")
    assert (low < inner_low).all()
    assert (inner_high < high).all()
    np.testing.assert_array_equal(forecast.measured("core_volume_mm3"), forecast.measured("core_volume_mm3"))
    with pytest.raises(InputError, match="'cell_volume_mm3' is not measured; measured are core, whole_tumor"):
        forecast.measured("cell_volume_mm3")


def test_a_diameter_is_that_of_the_sphere_and_cells_are_counted_by_a_density(forecast):
    ball = np.pi / 6 * forecast.diameter("core") ** 3
    np.testing.assert_allclose(ball, forecast.quantities["core_volume_mm3"], rtol=1e-6)
    assert forecast.diameter("whole_tumor", measured=True).shape == (400, 3)
    cells = forecast.cell_count(cells_per_mm3=1e5)
    np.testing.assert_allclose(cells, 1e5 * forecast.quantities["cell_volume_mm3"])
    with pytest.raises(InputError, match="region 'oedema' has no volume here; choose one of core, whole_tumor"):
        forecast.diameter("oedema")
    with pytest.raises(InputError, match="cells_per_mm3 must be a positive number, got 0"):
        forecast.cell_count(0)


def test_of_what_has_nearly_vanished_a_scan_may_show_nothing(forecast):
    little = {"core_volume_mm3": np.linspace(0.01, 5.0, 20)[:, None]}
    measured = replace(forecast, times=forecast.times[:1], quantities=little).measured("core_volume_mm3")
    assert 0.4 < np.mean(measured == 0) < 0.6
    assert measured.max() > 50


def test_volume_noise_is_the_error_of_the_calibration_visits(twin):
    """The data show the tumour of day 0 on days 4 and 8; the mode has grown meanwhile."""
    assert set(twin.volume_noise) == {"core", "whole_tumor"}
    observed = (bar.START > 0.3).sum() * 8.0
    given = Regimen((Radiotherapy([2.0], [2.0], alpha=0.03),))
    states = simulate(FisherKPP(bar.DOMAIN, diffusivity=0.5, proliferation_rate=0.1), given, bar.START, [4, 8]).states
    errors = []
    for u in states:
        predicted = float(visible_volume(u, 0.3, bar.DOMAIN))
        errors.append(np.log((observed + 500) / (predicted + 500)))
    assert twin.volume_noise["whole_tumor"] == pytest.approx(max(0.10, float(np.sqrt(np.mean(np.square(errors))))))


@pytest.mark.thorough
def test_without_uncertainty_there_is_one_draw_and_without_times_there_are_ten(twin):
    forecast = make(twin.posterior, uncertain=False).predict(20.0)
    assert forecast.times.tolist() == pytest.approx(np.arange(2.0, 21.0, 2.0))
    assert forecast.quantities["core_volume_mm3"].shape == (1, 10)
    assert forecast.density_std.max() < 1e-3


def test_some_days_of_a_forecast(forecast):
    later = forecast.at([10.0, 20.0])
    assert later.times.tolist() == [10.0, 20.0]
    np.testing.assert_array_equal(later.density_mean, forecast.density_mean[1:])
    np.testing.assert_array_equal(later.density_std, forecast.density_std[1:])
    np.testing.assert_array_equal(later.visible_probability["core"], forecast.visible_probability["core"][1:])
    np.testing.assert_array_equal(later.quantities["core_volume_mm3"], forecast.quantities["core_volume_mm3"][:, 1:])
    with pytest.raises(InputError, match="not all of"):
        forecast.at([7.0])


@pytest.mark.slow
def test_the_box_is_widened_until_it_holds_the_tumour(fast, forecast):
    """The volume is that of a solve on the whole bar, though only a part of it was solved."""
    predicted = make(fast.posterior, uncertain=False).predict(20.0, [20.0])
    assert forecast.domain.shape[0] < predicted.domain.shape[0] <= 48
    assert max(predicted.density_mean[0, 0].max(), predicted.density_mean[0, -1].max()) < 0.011
    values = {name: fast.posterior.mode[name] for name in ("diffusivity", "proliferation_rate")}
    model = FisherKPP(bar.DOMAIN, **values)
    given = Regimen((Radiotherapy([2.0], [2.0], alpha=0.03),))
    u = simulate(model, given, jnp.asarray(bar.START), [20.0]).states[0]
    np.testing.assert_allclose(
        predicted.quantities["whole_tumor_volume_mm3"][0, 0], float(visible_volume(u, 0.3, bar.DOMAIN)), rtol=0.01
    )


def test_draws_that_cannot_be_solved_are_left_out_or_refused(twin):
    z = np.array(twin.posterior.z)
    z[0, 0, 0] = 2 * np.log(1e9)
    one_bad = make(Posterior(**{**vars(twin.posterior), "z": z}))
    forecast = one_bad.predict(20.0, [1.0], draws=20, fields=False)
    assert forecast.failed_draws == 1
    assert forecast.quantities["core_volume_mm3"].shape == (19, 1)
    with pytest.raises(SolverError, match="1 of 2 posterior draws"):
        one_bad.predict(20.0, [1.0], draws=2, fields=False)


@pytest.mark.thorough
def test_laboratory_values_are_forecast_with_their_scatter():
    """A third quantity beside the two volumes: in the forecast of the patient's laboratory, and in no other."""
    posterior = bar.posterior()
    assert make(posterior).predict(8.0, [4.0, 8.0], draws=10).laboratory is None
    measured = QuantityObservation("cell_volume_mm3", 0.2)
    with_it = posterior.problem.whole.observation | {"cells": measured}
    problem = eqx.tree_at(lambda p: p.whole.observation, posterior.problem, with_it)
    laboratory = make(replace(posterior, problem=problem)).predict(8.0, [4.0, 8.0], draws=10).laboratory
    assert laboratory.noise == {"cell_volume_mm3": 0.2}
    plain, seen = laboratory.interval("cell_volume_mm3"), laboratory.interval("cell_volume_mm3", measured=True)
    assert (seen[0] < plain[0]).all() and (seen[2] > plain[2]).all()
    assert laboratory.at([8.0]).times.tolist() == [8.0]
