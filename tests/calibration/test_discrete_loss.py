"""The discretised loss: its equation, its derivatives, and what it finds on the tumour on a line."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import line
import numpy as np
import pytest

from twinjax.calibration import Datum, DiscreteLoss, InverseProblem, LevenbergMarquardt, Prior
from twinjax.calibration.discrete_system import DiscreteExpansion, DiscreteSystem
from twinjax.calibration.space_time import SpaceTime
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import DensityField, FisherKPP, PointSeed, TripleNegativeBreast, UntimedFisherKPP
from twinjax.observation import CellDensityObservation, SegmentationObservation
from twinjax.simulation import simulate
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen, Resection

KEY = jax.random.key(0)
SLICES = 20
FRACTIONS = Regimen([Radiotherapy([2.2, 21.3], 2.0)])
TREATED = FRACTIONS + Regimen([Chemotherapy([8.3, 12.0], 75.0, sensitivity=0.5, clearance_rate=2.0)])
# One for all, so that all share the compiled programs.
PRIOR = line.problem().prior


def noisy() -> InverseProblem:
    """The densities of another solver on a finer grid, with 5 % noise."""
    rng = np.random.default_rng(0)
    data = [
        Datum(day, "density", u + line.NOISE * rng.standard_normal(line.N), np.arange(line.N))
        for day, u in zip(line.DAYS, line.DENSITIES, strict=True)
    ]
    return line.problem(PRIOR, data=data)


def plane(start, regimen=TREATED) -> InverseProblem:
    """A ragged plane of two tissues, seen on the day of the last fraction."""
    rng = np.random.default_rng(0)
    mask, white = rng.random((9, 8)) < 0.85, rng.random((9, 8)) < 0.5
    domain = Domain(mask, (1.0, 1.5), white_matter=white, grey_matter=~white)
    start = np.where(mask, start, 0.0)
    observation = CellDensityObservation(noise_std=0.1, discrepancy_std=0.0, correlation_length_mm=1.0)
    datum = Datum(21.3, "density", start[mask], np.flatnonzero(mask))
    model = FisherKPP(domain, diffusivity=0.4, proliferation_rate=0.05)
    return InverseProblem(
        model, regimen, DensityField(jnp.asarray(start)), {"density": observation}, [datum], Prior(line.GROWTH)
    )


def solver_field(problem: InverseProblem, space_time: SpaceTime):
    tumor = problem.tumor
    return simulate(tumor.model, tumor.regimen, tumor.state0(), space_time.edges[1:], max_step=0.05).states


@eqx.filter_jit
def residual(space_time, tumor, field):
    return space_time.residual(tumor, field)


@pytest.mark.thorough
def test_the_solvers_own_solution_leaves_little_and_of_second_order():
    x, y = np.meshgrid(np.arange(9.0), 1.5 * np.arange(8.0), indexing="ij")
    problem = plane(0.7 * np.exp(-((x - 4) ** 2 + (y - 5) ** 2) / 18))
    left = []
    for slices in (20, 40):
        space_time = SpaceTime(problem, slices)
        found = residual(space_time, problem.tumor, solver_field(problem, space_time))
        left.append(float(jnp.sqrt(jnp.mean(found**2))))
    # Per day; growth is some 0.01.
    assert left[0] < 2e-4, left
    assert np.log2(left[0] / left[1]) > 1.8, left


@pytest.mark.thorough
def test_doses_act_at_their_instants_wherever_slices_end():
    """Without diffusion, in even tissue, slices of any length give the solver's density."""
    problem = plane(0.3, FRACTIONS)
    space_time = SpaceTime(problem, 3)
    expected = solver_field(problem, space_time)
    left = residual(space_time, problem.tumor, expected)
    np.testing.assert_allclose(left, 0, atol=1e-12)
    untreated = eqx.tree_at(lambda t: t.regimen.treatments[0].alpha, problem.tumor, jnp.zeros(()))
    assert float(jnp.abs(residual(space_time, untreated, expected)).max()) > 1e-3
    # A scan on the day of a dose sees the density before it.
    survival = float(problem.tumor.regimen.impulsive[0].survival(0, jnp.asarray(0.5)))
    after = residual(space_time, problem.tumor, expected.at[-1].multiply(survival))
    assert float(jnp.abs(after).max()) > 1e-3


def test_every_day_of_data_ends_a_slice():
    problem = line.problem(data=[Datum(day, "density", [0.5], [30]) for day in (0.0, 7.0, 45.0)])
    space_time = SpaceTime(problem, 10)
    np.testing.assert_allclose(space_time.edges[np.asarray(space_time.of_data)], [0.0, 7.0, 45.0])
    assert float(jnp.diff(space_time.edges).max()) <= 4.5 + 1e-9
    field = jnp.arange(space_time.edges.size - 1.0)[:, None] * jnp.ones(line.N)
    states = space_time.states(problem.tumor, field)
    np.testing.assert_allclose(states[0], line.START)
    np.testing.assert_allclose(states[1:, 0], [1.0, space_time.edges.size - 2.0])


@pytest.mark.thorough
def test_derivatives_are_those_of_differences():
    """Along steps of the method, from a field that is far from a solution."""
    problem = noisy()
    space_time = SpaceTime(problem, SLICES)
    system = DiscreteSystem(problem, space_time, jnp.asarray(1e-3))
    rng = np.random.default_rng(1)
    field = 0.2 + 0.1 * rng.random((space_time.edges.size - 1, line.N))
    here = DiscreteExpansion(system, 0.3 * jnp.ones(2), field)
    directions = rng.standard_normal((2, here.gradient.size))
    # A change of z, and a change of the equation's residual, alone.
    directions[0, 2:] = 0
    directions[1, :2] = 0
    for direction in directions:
        h = 1e-4
        numeric = (here.moved(h * direction).cost - here.moved(-h * direction).cost) / (2 * h)
        assert here.gradient @ direction == pytest.approx(numeric, rel=1e-6)
    one, other = directions
    assert one @ here.product(other) == pytest.approx(other @ here.product(one), rel=1e-7)
    solved = here.solved().solved()
    np.testing.assert_allclose(system.equation(solved.z, solved.field), 0, atol=1e-6)


@pytest.fixture(scope="module")
def fitted():
    return DiscreteLoss(slices=SLICES, estimate_noise=False).fit(noisy(), key=KEY)


def test_strict_physics_finds_what_levenberg_marquardt_finds(fitted):
    diagnostics = fitted.diagnostics
    assert diagnostics["converged"], diagnostics["verdict"]
    _, mode = LevenbergMarquardt(estimate_noise=False).fit_mode(noisy(), key=KEY)
    deviations = np.sqrt(np.diag(mode.covariance))
    assert (np.abs(fitted.z_map - mode.z) < 0.1 * deviations).all()
    found, theirs = fitted.mode, PRIOR.values(jnp.asarray(mode.z))
    for name, value in theirs.items():
        assert found[name] == pytest.approx(float(value), rel=0.01)
    # Within the scatter of 1000 draws.
    np.testing.assert_allclose(fitted.z.reshape(-1, 2).std(axis=0), deviations, rtol=0.1)


def test_the_field_is_the_solvers_and_the_residual_is_measured(fitted):
    diagnostics = fitted.diagnostics
    assert diagnostics["relative_l2_error"] < 1e-3
    assert diagnostics["residual"] < diagnostics["physics_error"] < 1e-4
    assert diagnostics["slices"] == 21


def test_loose_physics_bends_the_field_to_the_data_and_says_so():
    method = DiscreteLoss(slices=SLICES, physics_error=0.05, estimate_noise=False)
    found = method.find(noisy())
    expected = np.stack([np.asarray(d.values) for d in noisy().data])
    nearer = np.linalg.norm(np.asarray(found.states()) - expected)
    assert nearer < 0.9 * np.linalg.norm(np.asarray(noisy().simulate(found.mode.expansion.z).states) - expected)
    posterior = method.fit(noisy(), key=KEY)
    assert not posterior.diagnostics["converged"]
    assert "% (relative L2) from the solver's density" in posterior.diagnostics["verdict"]


# One scan of a tumour of unknown age and place: two masks, by another solver on a grid four times finer.
SCAN = {
    "front_width": {"distribution": ("lognormal", 3.0, 0.6), "where": "model.front_width"},
    "growth_length": {"distribution": ("lognormal", 25.0, 0.6), "where": "model.growth_length"},
    "shift": {"distribution": ("normal", 0.0, 8.0), "where": "initial.shift_x"},
}
WIDTH, LENGTH, SHIFT = 2.2, 17.0, 3.3


def scan() -> InverseProblem:
    fine = Domain(np.ones(line.N * line.REFINEMENT), (1 / line.REFINEMENT,))
    x = (np.arange(fine.mask.size) + 0.5) / line.REFINEMENT - 0.5
    seed = 0.9 * np.exp(-((x - 30.0 - SHIFT) ** 2) / (2 * 3.0**2))
    diffusivity, rate, age = 0.2, 0.2 / WIDTH**2, LENGTH / (0.4 / WIDTH)
    grown = simulate(
        FisherKPP(fine, diffusivity=diffusivity, proliferation_rate=rate),
        Regimen(),
        seed,
        [age],
        solver=diffrax.Tsit5(),
    ).require_success()
    density = np.asarray(grown.states[0])
    data, observations = [], {}
    for name, threshold in (("core", 0.6), ("whole", 0.3)):
        fraction = (density > threshold).reshape(line.N, -1).mean(-1)
        data.append(Datum(1.0, name, fraction, np.arange(line.N)))
        observations[name] = SegmentationObservation(line.DOMAIN, threshold, noise_std=0.1, correlation_length_mm=2.0)
    initial = PointSeed([30.0], radius=3.0, amplitude=0.9)
    return InverseProblem(
        UntimedFisherKPP(line.DOMAIN), Regimen(), initial, observations, data, Prior(SCAN), max_step=0.055
    )


@pytest.mark.thorough
def test_one_scan_of_unknown_age_and_seed_tells_width_length_and_place():
    posterior = DiscreteLoss(estimate_noise=False).fit(scan(), key=KEY)
    assert posterior.diagnostics["converged"], posterior.diagnostics["verdict"]
    mode, spread = posterior.mode, posterior.z.reshape(-1, 3).std(axis=0)
    assert mode["shift"] == pytest.approx(SHIFT, abs=0.3)
    assert mode["growth_length"] == pytest.approx(LENGTH, rel=0.05)
    assert mode["front_width"] == pytest.approx(WIDTH, rel=0.15)
    truth = [np.log(WIDTH / 3.0) / 0.6, np.log(LENGTH / 25.0) / 0.6, SHIFT / 8.0]
    assert (np.abs(posterior.z_map - truth) < 3 * spread).all()
    # The scan told it, not the prior.
    assert spread.max() < 0.2


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (
            lambda: line.problem(model=TripleNegativeBreast(line.DOMAIN)),
            "a discretised loss describes one cell density on a grid .*UntimedFisherKPP.*, not TripleNegativeBreast",
        ),
        (
            lambda: line.problem(model=FisherKPP(line.DOMAIN, diffusivity=np.full(line.N, 0.1)), prior=line.THRESHOLD),
            "differ from place to place: take calibrator=low_rank_laplace",
        ),
        (
            lambda: line.problem(regimen=Regimen([Resection(5.0, np.arange(line.N) < 9)])),
            "kill the same share everywhere, not resection: take calibrator=laplace",
        ),
        (lambda: line.problem(data=[Datum(0.0, "density", [0.5], [30])]), "all data are of the day of the start"),
    ],
    ids=["several parts", "fields", "operation", "no time"],
)
def test_what_it_does_not_describe_is_refused(problem, message):
    with pytest.raises(InputError, match=message):
        DiscreteLoss().fit(problem(), key=KEY)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"slices": 0}, "must be >= 1"), ({"physics_error": 0.0}, "tolerance and physics_error must be positive")],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InputError, match=message):
        DiscreteLoss(**settings)
