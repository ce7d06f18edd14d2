"""Triple-negative breast cancer: diffusion damped by stress, drugs by where they come to."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.core.kills import Kills
from twinjax.domain import Domain
from twinjax.model import FisherKPP, LogisticGrowth, TripleNegativeBreast
from twinjax.model.distributed_kill import logistic_flow
from twinjax.simulation import simulate
from twinjax.treatment import Chemotherapy, Regimen

SHAPE = (10, 9, 8)
RNG = np.random.default_rng(0)
DISTRIBUTION = RNG.uniform(0.4, 1.8, SHAPE)


def domain(**maps):
    return Domain(np.ones(SHAPE, bool), (2.0, 2.0, 2.0), maps=maps)


def tumor(width=4.0, peak=0.8):
    """A ball of cells in the middle of the grid."""
    axes = np.meshgrid(*[2.0 * (np.arange(n) - (n - 1) / 2) for n in SHAPE], indexing="ij")
    return jnp.asarray(peak * np.exp(-sum(a**2 for a in axes) / (2 * width**2)))


def model(**options):
    grid = domain(drug_distribution=DISTRIBUTION)
    values = {"diffusivity": 0.05, "proliferation_rate": 0.04, "mechanics_resolution_mm": None}
    return TripleNegativeBreast(grid, **(values | options))


DRUG = Regimen([Chemotherapy([1.5, 4.0], 60.0, drug="doxorubicin", sensitivity=0.4, clearance_rate=0.6)])


@pytest.mark.thorough
def test_without_coupling_and_map_it_is_fisher_kpp():
    breast = TripleNegativeBreast(domain(), diffusivity=0.05, mechanical_coupling=0.0, proliferation_rate=0.04)
    fisher = FisherKPP(domain(), diffusivity=0.05, proliferation_rate=0.04)
    got, expected = (simulate(m, DRUG, tumor(), [3.0, 10.0]).require_success().states for m in (breast, fisher))
    np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.slow
def test_stress_slows_cells_where_tissue_is_sheared():
    free, held = (model(mechanical_coupling=kappa) for kappa in (0.0, 20.0))
    resistance = np.asarray(held.resistance(tumor()))
    # The middle of a round tumour is under pressure alone; its surroundings are sheared.
    assert resistance[4, 4, 3] < resistance[7, 4, 3]
    assert resistance.min() >= 1 and resistance.max() > 2
    spread = [simulate(m, Regimen(), tumor(), [20.0]).states[0] for m in (free, held)]
    far = np.asarray(tumor()) < 0.1
    assert spread[1][far].sum() < 0.95 * spread[0][far].sum()


def test_stress_is_that_of_a_share_whatever_the_unit_of_stiffness():
    scaled = model(adipose_stiffness=2e3, fibroglandular_stiffness=4e3, tumor_stiffness=2e4)
    np.testing.assert_allclose(scaled.relative_stress(tumor()), model().relative_stress(tumor()), rtol=1e-9)


def test_stiffness_is_that_of_the_tissue_and_of_tumour():
    fibroglandular = np.zeros(SHAPE)
    fibroglandular[5:] = 1.0
    fibroglandular[4] = 0.5
    breast = TripleNegativeBreast(domain(fibroglandular=fibroglandular, adipose=1 - fibroglandular))
    healthy = np.asarray(breast.stiffness(jnp.zeros(SHAPE)))
    # Far below the threshold the smooth step has let in 0.7 % of tumour stiffness.
    np.testing.assert_allclose(healthy[[0, 4, 9], 0, 0], [2.0, 3.0, 4.0], rtol=0.08)
    np.testing.assert_allclose(breast.stiffness(jnp.full(SHAPE, 0.5)), 20.0, rtol=1e-6)


def test_vector_field_is_reaction_and_damped_diffusion():
    """The damped operator is that of D0 / resistance."""
    from twinjax.domain import DiffusionOperator
    from twinjax.model import Forcing

    breast, u = model(), tumor()
    forcing = Forcing(jnp.array(0.3), breast.transport(None), {"checkpoint_blockade": jnp.array(0.5)})
    diffusivity = 0.05 / breast.resistance(u)
    operator = DiffusionOperator.create(diffusivity, breast.domain.mask, breast.domain.spacing)
    kill = breast.domain.map("drug_distribution") * 0.3 + 0.02 * 0.5
    expected = 0.04 * u * (1 - u) - kill * u + operator(u)
    np.testing.assert_allclose(breast.vector_field(0.0, u, forcing), expected, atol=1e-13)


@pytest.mark.slow
def test_splitting_converges_to_the_unsplit_equation():
    """Of second order at a hundred times the diffusivity of patients, whose stress hardly changes within a step."""
    breast = model(diffusivity=0.05)
    controller = diffrax.PIDController(rtol=1e-6, atol=1e-8)
    reference = simulate(breast, DRUG, tumor(), [4.0], solver=diffrax.Tsit5(), stepsize_controller=controller)
    exact = reference.require_success().states[0]
    found = [simulate(breast, DRUG, tumor(), [4.0], max_step=step).states[0] for step in (1.0, 0.5)]
    errors = [float(jnp.abs(u - exact).max()) for u in found]
    assert errors[1] < 0.4 * errors[0]
    assert errors[1] < 2e-4


@pytest.mark.slow
def test_coarse_mechanics_are_near_the_fine_ones():
    """A tumour of 11 mm on voxels of 2 mm: the stress near it, on average and in the root mean square."""
    shape = (24, 22, 18)
    axes = np.meshgrid(*[2.0 * (np.arange(n) - (n - 1) / 2) for n in shape], indexing="ij")
    distance = np.sqrt(sum(a**2 for a in axes))
    density = jnp.asarray(0.8 / (1 + np.exp((distance - 11) / 1.5)))
    grid = Domain(np.ones(shape, bool), (2.0, 2.0, 2.0))
    fine, coarse = (
        np.asarray(TripleNegativeBreast(grid, mechanics_resolution_mm=edge).relative_stress(density))
        for edge in (None, 4.0)
    )
    assert fine.shape == coarse.shape
    near = distance < 20
    assert coarse[near].mean() == pytest.approx(fine[near].mean(), rel=0.1)
    assert np.sqrt(np.mean((coarse - fine)[near] ** 2)) < 0.4 * np.sqrt(np.mean(fine[near] ** 2))


@pytest.mark.slow
def test_derivatives_agree_with_finite_differences():
    def cells(values, adjoint=None):
        breast = model(diffusivity=0.1 * values[0], mechanical_coupling=5.0 * values[1])
        return jnp.sum(simulate(breast, DRUG, tumor(), [5.0], max_step=2.5, adjoint=adjoint).states[0] ** 2)

    one, step = jnp.ones(2), 1e-3
    forward = jax.jacfwd(lambda values: cells(values, diffrax.ForwardMode()))(one)
    differences = [(cells(one + step * e) - cells(one - step * e)) / (2 * step) for e in jnp.eye(2)]
    # The stress is solved to a residual of 1e-6, which limits the differences.
    np.testing.assert_allclose(forward, differences, rtol=2e-4)
    np.testing.assert_allclose(jax.grad(cells)(one), forward, rtol=1e-5)


def test_checkpoint_blockade_kills_at_its_level():
    breast = model(immune_kill_rate=0.1, diffusivity=0.0, proliferation_rate=0.0)
    none = Kills.none()
    after = breast.reaction_flow(tumor(), 7.0, none, {"checkpoint_blockade": jnp.array(0.8)})
    np.testing.assert_allclose(after, tumor() * np.exp(-0.1 * 0.8 * 7.0), rtol=1e-12)
    np.testing.assert_allclose(breast.reaction_flow(tumor(), 7.0, none, {}), tumor(), rtol=1e-12)


@pytest.mark.thorough
def test_proliferation_may_differ_from_place_to_place():
    field = np.full(SHAPE, 0.05)
    field[:5] = -0.02
    breast = model(proliferation_rate=field, diffusivity=0.0)
    after = simulate(breast, Regimen(), tumor(), [10.0]).require_success().states[0]
    grown = tumor() * np.exp(field * 10.0)
    expected = grown / (1 + tumor() * np.expm1(field * 10.0))
    np.testing.assert_allclose(after, expected, rtol=1e-9)
    with pytest.raises(InputError, match="proliferation_rate"):
        model(proliferation_rate=np.ones((3, 3, 3)))


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="mechanics_resolution_mm"):
        model(mechanics_resolution_mm=0.0)


# ------------------------------------------------------------------ a drug that does not reach every voxel alike
KILLS = Kills(jnp.array([0.0, 0.6, 0.2, 0.9]), jnp.array([0.0, 1.0, 2.5, 6.0]))


@pytest.mark.thorough
def test_flow_of_even_exposure_is_that_of_the_growth_law():
    u = jnp.asarray(RNG.random(50))
    exposure = jnp.full(50, 0.7)
    weaker = Kills(0.7 * KILLS.log_kill, KILLS.elapsed)
    expected = LogisticGrowth().flow(u, 7.0, 0.1, 0.9, 0.2, weaker)
    found = logistic_flow(u, 7.0, 0.1, 0.9, log_kill=0.2, kills=KILLS, exposure=exposure)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_flow_is_exact_in_every_voxel():
    """Against each voxel's own logistic flow; interpolation in the exposure costs nothing that can be seen."""
    u, exposure = jnp.asarray(RNG.random(60)), jnp.asarray(RNG.uniform(0.2, 2.5, 60))
    found = logistic_flow(u, 7.0, 0.1, 0.9, log_kill=0.2, kills=KILLS, exposure=exposure)

    def one(u, c):
        return LogisticGrowth().flow(u, 7.0, 0.1, 0.9, 0.2, Kills(c * KILLS.log_kill, KILLS.elapsed))

    np.testing.assert_allclose(found, jax.vmap(one)(u, exposure), rtol=1e-11)


def test_flow_in_two_parts_is_the_flow_of_both():
    u, exposure = jnp.asarray(RNG.random(60)), jnp.asarray(RNG.uniform(0.2, 2.5, 60))
    first, second = Kills(KILLS.log_kill[:2], KILLS.elapsed[:2]), Kills(KILLS.log_kill[2:], KILLS.elapsed[2:] - 2.0)
    half = logistic_flow(u, 2.0, 0.1, 0.9, log_kill=0.0, kills=first, exposure=exposure)
    twice = logistic_flow(half, 5.0, 0.1, 0.9, log_kill=0.0, kills=second, exposure=exposure)
    once = logistic_flow(u, 7.0, 0.1, 0.9, log_kill=0.0, kills=KILLS, exposure=exposure)
    np.testing.assert_allclose(twice, once, rtol=1e-11)


@pytest.mark.thorough
def test_flow_has_finite_derivatives_where_nothing_happens():
    exposure = jnp.ones(40)

    def cells(duration, rate):
        flow = logistic_flow(jnp.full(40, 0.3), duration, rate, 1.0, log_kill=0.0, kills=KILLS, exposure=exposure)
        return flow.sum()

    assert np.isfinite(jax.grad(cells, argnums=(0, 1))(0.0, 0.0)).all()
