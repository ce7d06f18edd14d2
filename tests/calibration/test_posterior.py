"""`Posterior`: intervals, draws, the file, and what it says of parameters that the data do not inform."""

import arviz
import line
import numpy as np
import pytest

from twinjax.calibration import Posterior
from twinjax.core.errors import InputError

RNG = np.random.default_rng(0)
MODE = np.array([0.4, -0.2, 0.1, 0.0])


@pytest.fixture(scope="module")
def problem():
    return line.treated_problem()


@pytest.fixture(scope="module")
def posterior(problem):
    """Growth well known, the threshold somewhat (variance 0.36), radiosensitivity not at all."""
    z = MODE + RNG.normal(size=(2, 400, 4)) * np.array([0.1, 0.1, 0.98, 0.6])
    return Posterior.from_draws(problem, z, MODE, method="none: synthetic draws", doubts=[], divergences=0)


def test_samples_are_the_draws_in_their_units(posterior, problem):
    np.testing.assert_allclose(posterior.samples["diffusivity"], 0.3 * np.exp(0.5 * posterior.z[..., 0]), rtol=1e-12)
    assert posterior.names == ("diffusivity", "proliferation_rate", "alpha", "threshold")
    assert posterior.map_estimate["diffusivity"] == pytest.approx(0.3 * np.exp(0.2))
    assert posterior.map_estimate.posterior is posterior
    assert dict(posterior.map_estimate) == posterior.mode
    assert posterior.problem is problem
    assert posterior.diagnostics["converged"] is True


def test_an_interval_holds_its_share(posterior):
    low, high = posterior.credible_interval(0.9)["alpha"]
    draws = posterior.samples["alpha"]
    assert np.mean((low <= draws) & (draws <= high)) == pytest.approx(0.9, abs=0.003)
    assert np.mean(draws < low) == pytest.approx(0.05, abs=0.003)
    assert posterior.credible_interval(0.9).posterior is posterior


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95.0, float("nan")])
def test_a_level_lies_between_0_and_1(posterior, level):
    with pytest.raises(InputError, match="level of a credible interval"):
        posterior.credible_interval(level)


@pytest.mark.parametrize("count", [1, 7, 800, 1000])
def test_draws_come_in_any_number(posterior, count):
    draws = posterior.draws(count)
    known = {tuple(row) for row in posterior.z.reshape(-1, 4)}
    assert draws.shape == (count, 4)
    assert {tuple(row) for row in draws} <= known
    np.testing.assert_array_equal(draws, posterior.draws(count))
    assert {name: v.shape for name, v in posterior.sample(count).items()} == dict.fromkeys(posterior.names, (count,))


def test_draws_are_spread_over_the_chains(posterior):
    draws = {tuple(row) for row in posterior.draws(10)}
    assert [len(draws & {tuple(row) for row in chain}) for chain in posterior.z] == [5, 5]


def test_named_samples_of_one_draw_belong_together(posterior):
    some = posterior.sample(50, seed=4)
    flat = np.stack([posterior.samples[name].ravel() for name in posterior.names], axis=1)
    assert {tuple(row) for row in np.stack(list(some.values()), axis=1)} <= {tuple(row) for row in flat}
    assert not np.array_equal(some["alpha"], posterior.sample(50, seed=5)["alpha"])


def test_no_draws_are_refused(posterior):
    with pytest.raises(InputError, match="at least 1, got 0"):
        posterior.draws(0)


def test_rows_say_what_the_data_informed(posterior):
    rows = {row["parameter"]: row for row in posterior.rows(0.9)}
    assert {name: row["informed_by"] for name, row in rows.items()} == {
        "diffusivity": "data",
        "proliferation_rate": "data",
        "alpha": "mostly prior",
        "threshold": "data",
    }
    assert rows["diffusivity"]["contraction"] == pytest.approx(0.99, abs=0.003)
    assert rows["threshold"]["contraction"] == pytest.approx(0.64, abs=0.06)
    assert rows["diffusivity"]["unit"] == "mm²/day"
    assert rows["alpha"]["lower"] < rows["alpha"]["median"] < rows["alpha"]["upper"]
    assert rows["alpha"]["level"] == 0.9


def test_doubts_are_in_the_verdict(problem):
    apart = MODE + RNG.normal(size=(2, 200, 4)) * 0.1
    apart[1, :, 0] += 1.0
    posterior = Posterior.from_draws(problem, apart, MODE, method="synthetic draws", doubts=["the moon is full"])
    assert posterior.diagnostics["converged"] is False
    assert posterior.diagnostics["verdict"].startswith("NOT CONVERGED: the moon is full; the chains disagree (R-hat")
    assert "effective draws (wanted 100)" in posterior.diagnostics["verdict"]


def test_chains_that_never_move_are_not_converged(problem):
    stuck = np.broadcast_to(MODE, (2, 200, 4))
    posterior = Posterior.from_draws(problem, stuck, MODE, method="synthetic draws", doubts=[])
    assert posterior.diagnostics["verdict"].startswith("NOT CONVERGED")


def test_a_tumour_at_the_wall_of_its_box_is_a_doubt():
    inside = [datum for datum in line.problem().data if datum.day == 15.0]
    index = np.arange(25, 35)
    data = [type(datum)(datum.day, datum.observation, datum.values[index], index) for datum in inside]
    boxed = line.problem(data=data, box=((25,), (35,)))
    z = RNG.normal(size=(2, 200, 2))
    posterior = Posterior.from_draws(boxed, z, np.zeros(2), method="synthetic draws", doubts=[])
    assert posterior.diagnostics["edge_density"] > 0.1
    assert "reaches the edge of the box" in posterior.diagnostics["verdict"]


def test_what_is_saved_is_read_back(posterior, problem, tmp_path):
    path = tmp_path / "posterior.nc"
    posterior.save(path)
    opened = arviz.from_netcdf(str(path))
    np.testing.assert_array_equal(opened.posterior["alpha"], posterior.samples["alpha"])
    assert opened.posterior["z"].dims[:2] == ("chain", "draw")
    loaded = Posterior.load(path)
    assert loaded.names == posterior.names
    for name in posterior.names:
        np.testing.assert_array_equal(loaded.samples[name], posterior.samples[name])
    np.testing.assert_array_equal(loaded.z, posterior.z)
    np.testing.assert_array_equal(loaded.z_map, posterior.z_map)
    assert loaded.diagnostics == posterior.diagnostics
    assert loaded.units == posterior.units
    assert loaded.mode == posterior.mode
    assert loaded.problem is None
    assert loaded.attach(problem).problem.prior is problem.prior


def test_other_files_are_refused(posterior, tmp_path):
    path = tmp_path / "posterior.nc"
    with pytest.raises(InputError, match="posterior.nc: not a posterior"):
        Posterior.load(path)
    posterior.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="posterior.nc: not a posterior"):
        Posterior.load(path)
    path.write_text("day,dose\n1,2\n")
    with pytest.raises(InputError, match="posterior.nc: not a posterior"):
        Posterior.load(path)
    arviz.from_dict(posterior={"x": np.zeros((2, 5))}).to_netcdf(str(path))
    with pytest.raises(InputError, match="posterior.nc: not a posterior"):
        Posterior.load(path)


def test_attaching_hands_over_every_noise_level(posterior, problem):
    noise = {"density": {"noise_std": 0.31, "discrepancy_std": 0.2}, "core": {"noise_std": 0.7}}
    louder = Posterior(
        posterior.samples,
        posterior.z,
        posterior.mode,
        posterior.z_map,
        posterior.units,
        {
            **posterior.diagnostics,
            "noise": {
                "density": {"noise_std": 0.31, "discrepancy_std": 0.2},
                "core": {"noise_std": 0.7},
            },
        },
    )
    attached = louder.attach(problem).problem
    assert attached.noise == noise
    assert float(problem.tumor.observation["density"].noise_std) == pytest.approx(line.NOISE)


def test_another_problem_cannot_be_attached(posterior):
    with pytest.raises(InputError, match="the problem's parameters .*'diffusivity'.* are not the posterior's"):
        posterior.attach(line.problem())
    other = Posterior(
        **{**vars(posterior), "diagnostics": {**posterior.diagnostics, "noise": {"pet": {"noise_std": 0.1}}}}
    )
    with pytest.raises(InputError, match="observations density, core.*fitted to pet"):
        other.attach(posterior.problem)
