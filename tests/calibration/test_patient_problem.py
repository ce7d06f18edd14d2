"""From a patient's scans to an inverse problem, and to parameters in one call."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.calibration import (
    BayesianCalibration,
    LevenbergMarquardt,
    ParameterEstimator,
    coarse_and_fine,
    longitudinal_problem,
    single_scan_problem,
)
from twinjax.calibration.estimator import default_prior
from twinjax.calibration.scan_data import densest_adc, measured_density
from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.scan import Scan
from twinjax.model import FisherKPP, UntimedFisherKPP
from twinjax.patient import PatientData, Visit
from twinjax.simulation import simulate
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

N, EDGE = 24, 2.0
AFFINE = np.diag([EDGE, EDGE, EDGE, 1.0])
AFFINE[:3, 3] = [-20.0, 5.0, 7.0]
DOMAIN = Domain(np.ones((N,) * 3), (EDGE,) * 3, affine=AFFINE)
TRUTH = {"diffusivity": 0.3, "proliferation_rate": 0.05}
DAYS = (0.0, 30.0)
# ADC (mm²/s) of free water and of the densest packing.
WATER, PACKED = 3.0e-3, 0.7e-3


def densities() -> np.ndarray:
    """A synthetic tumour of 8 mm radius at the first visit, grown on the scans' grid."""
    radius = np.linalg.norm(np.stack(np.meshgrid(*[(np.arange(N) - N / 2 + 0.5) * EDGE] * 3, indexing="ij")), axis=0)
    u0 = 1 / (1 + np.exp((radius - 8.0) / 2.45))
    trajectory = simulate(FisherKPP(DOMAIN, **TRUTH), Regimen(), jnp.asarray(u0), DAYS)
    return np.asarray(trajectory.require_success().states)


DENSITIES = densities()


def scan(u: np.ndarray, **images) -> Scan:
    labels = np.where(u > 0.6, 3, np.where(u > 0.3, 2, 0)).astype(np.int8)
    adc = (WATER - u * (WATER - PACKED)).astype(np.float32)
    return Scan(AFFINE, {"ADC": adc, **images}, segmentation=labels, brain_mask=np.ones(u.shape, bool))


VISITS = tuple(Visit(day, scan(u)) for day, u in zip(DAYS, DENSITIES, strict=True))
MODEL = FisherKPP(DOMAIN, resolution_mm=4.0)


def patient(visits=VISITS, regimen=None) -> PatientData:
    return PatientData.from_visits("synthetic", visits, regimen, DOMAIN, source="synthetic")


def test_parameters_of_what_was_not_given_are_left_out():
    prior = default_prior()
    untreated = longitudinal_problem(patient(), MODEL, prior)
    no_pet, no_treatment = {"pet_scale", "pet_background"}, {"radiotherapy_alpha", "temozolomide_sensitivity"}
    assert set(prior.names) - set(untreated.prior.names) == no_treatment | no_pet
    irradiated = longitudinal_problem(patient(regimen=Regimen((Radiotherapy([3.0], [2.0]),))), MODEL, prior)
    assert set(prior.names) - set(irradiated.prior.names) == {"temozolomide_sensitivity"} | no_pet
    both = Regimen((Radiotherapy([3.0], [2.0]), Chemotherapy([3.0], [75.0])))
    assert set(prior.names) - set(longitudinal_problem(patient(regimen=both), MODEL, prior).prior.names) == no_pet
    blind = [Visit(v.day, Scan(AFFINE, {}, v.scan.segmentation, v.scan.brain_mask)) for v in VISITS]
    without_adc = longitudinal_problem(patient(blind), MODEL, prior)
    assert "adc_gain" not in without_adc.prior.names
    assert {datum.observation for datum in without_adc.data} == {"core", "whole_tumor"}


def test_the_data_are_those_of_the_scans():
    problem = longitudinal_problem(patient(), MODEL, default_prior())
    found = {(datum.day, datum.observation) for datum in problem.data}
    # The baseline's segmentation shapes the start, and is no datum.
    assert found == {(0.0, "cell_density"), (30.0, "cell_density"), (30.0, "core"), (30.0, "whole_tumor")}
    (whole,) = (datum for datum in problem.data if datum.observation == "whole_tumor")
    volume = float(whole.values.sum()) * MODEL.domain.voxel_volume
    assert volume == pytest.approx(VISITS[1].scan.whole_tumor.sum() * EDGE**3, rel=0.01)


def test_the_white_noise_is_that_of_the_scans():
    """On their own grid; ADC that is too smooth to be true keeps a share of what is taken where nothing is seen."""
    rng, level = np.random.default_rng(0), 0.04
    noisy = []
    for visit in VISITS:
        adc = visit.scan.images["ADC"] + level * (WATER - PACKED) * rng.standard_normal(DOMAIN.shape)
        noisy.append(Visit(visit.day, scan(DENSITIES[len(noisy)], ADC=adc.astype(np.float32))))
    fine = FisherKPP(DOMAIN)
    found = longitudinal_problem(patient(noisy), fine, default_prior()).noise["cell_density"]["noise_std"]
    # The range of the densities is that of the noisy ADC, a little wider than the true one.
    assert found == pytest.approx(level, rel=0.3)
    smooth = longitudinal_problem(patient(), fine, default_prior()).noise["cell_density"]["noise_std"]
    assert smooth == pytest.approx(0.02)
    given = longitudinal_problem(patient(noisy), fine, default_prior(), cell_density_noise=0.3)
    assert given.noise["cell_density"]["noise_std"] == pytest.approx(0.3)


def test_laboratory_values_that_the_model_predicts_are_data():
    """Here the volume of all cells, the whole of what `FisherKPP` names; testosterone says nothing to it."""
    volume = 3.5e4
    laboratory = {"cell_volume_mm3": volume, "testosterone_nmol_l": 14.0}
    problem = longitudinal_problem(
        patient([VISITS[0], Visit(30.0, VISITS[1].scan, laboratory)]), MODEL, default_prior()
    )
    (datum,) = (d for d in problem.data if d.observation not in ("core", "whole_tumor", "cell_density"))
    assert (datum.day, datum.observation) == (30.0, "cell_volume_mm3")
    z = jnp.zeros(problem.dimension)
    expected, success = problem.predictions(z)
    assert bool(success)
    cells = float(problem.simulate(z).states[-1].sum()) * MODEL.domain.voxel_volume
    position = problem.data.index(datum)
    np.testing.assert_allclose(expected[position], np.log(cells), rtol=1e-6)
    np.testing.assert_allclose(datum.values, np.log(volume), rtol=1e-6)


def test_at_the_truth_the_residuals_are_small():
    """Voxels of 4 mm stand for scans of 2 mm: a mean residual of less than its stated deviation."""
    problem = longitudinal_problem(
        patient(),
        FisherKPP(MODEL.domain),
        default_prior().replaced(
            {name: ("lognormal", value, 0.5) for name, value in TRUTH.items()}
            | {"oedema_threshold": ("normal", 0.3, 0.1)}
        ),
    )
    residuals = np.asarray(problem.residuals(jnp.zeros(problem.dimension)))
    assert np.sqrt(np.mean(residuals**2)) < 0.5


def test_one_visit_is_not_enough():
    with pytest.raises(InputError, match="at least two visits.*single-scan"):
        longitudinal_problem(patient(VISITS[:1]), MODEL, default_prior())


def without_core(visit: Visit) -> Visit:
    labels = np.where(visit.scan.segmentation > 0, 2, 0).astype(np.int8)
    return Visit(visit.day, Scan(AFFINE, visit.scan.images, labels, visit.scan.brain_mask))


def test_an_empty_core_is_refused():
    with pytest.raises(InputError, match="core is empty"):
        longitudinal_problem(patient((without_core(VISITS[0]), VISITS[1])), MODEL, default_prior())
    model = UntimedFisherKPP(DOMAIN, resolution_mm=4.0)
    with pytest.raises(InputError, match="core is empty"):
        single_scan_problem(patient((without_core(VISITS[0]),)), model, load_named("prior", "glioblastoma_single_scan"))


def test_a_core_outside_the_tissue_is_no_core():
    labels = VISITS[0].scan.segmentation
    tissue = Domain(~np.isin(labels, (1, 3)), DOMAIN.spacing, affine=AFFINE)
    with pytest.raises(InputError, match="core is empty inside the tissue"):
        single_scan_problem(
            patient(VISITS[:1]), UntimedFisherKPP(tissue), load_named("prior", "glioblastoma_single_scan")
        )


@pytest.mark.parametrize("region", ["core", "whole_tumor"])
def test_the_rim_of_a_region_says_nothing_of_its_cells(region):
    """Normal tissue of low ADC in the outer 3 mm (one voxel of 2 mm) must change nothing."""
    clean = VISITS[1]
    adc = clean.scan.images["ADC"].copy()
    mask = getattr(clean.scan, region)
    rim = mask & ~np.all([np.roll(mask, s, axis) for axis in range(3) for s in (1, -1)], axis=0)
    adc[rim] = 0.5e-3
    spoilt = Visit(30.0, Scan(AFFINE, {"ADC": adc}, clean.scan.segmentation, clean.scan.brain_mask))
    expected, found = (measured_density(v, DOMAIN, PACKED, region=region) for v in (clean, spoilt))
    assert 0 < len(expected[0]) < mask.sum() - rim.sum() + 1
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[1], DENSITIES[1].ravel()[found[0]], atol=1e-5)
    if region == "core":
        assert densest_adc([spoilt]) == densest_adc([clean])


def test_the_densest_packing_is_one_for_all_visits():
    inner = [visit.scan.images["ADC"][visit.scan.core] for visit in VISITS]
    pooled = densest_adc(VISITS)
    assert pooled >= min(values.min() for values in inner)
    assert pooled < max(values.min() for values in inner) + 0.3e-3
    blind = Visit(0.0, Scan(AFFINE, {}, VISITS[0].scan.segmentation, VISITS[0].scan.brain_mask))
    assert densest_adc([blind]) is None
    assert measured_density(blind, DOMAIN, PACKED) is None


def test_voxels_without_adc_are_not_dense_tumour():
    adc = VISITS[1].scan.images["ADC"].copy()
    adc[: N // 2] = 0
    holed = Visit(30.0, Scan(AFFINE, {"ADC": adc}, VISITS[1].scan.segmentation, VISITS[1].scan.brain_mask))
    assert densest_adc([holed]) >= PACKED
    index, values = measured_density(holed, DOMAIN, PACKED)
    assert (np.unravel_index(index, DOMAIN.shape)[0] >= N // 2).all()
    np.testing.assert_allclose(values, DENSITIES[1].ravel()[index], atol=1e-5)


def test_a_single_scan_is_seen_as_core_whole_tumour_and_pet():
    pet = (3.0 * (0.2 + 0.8 * DENSITIES[1])).astype(np.float32)
    prior = load_named("prior", "glioblastoma_single_scan")
    model = UntimedFisherKPP(DOMAIN, resolution_mm=4.0)
    problem = single_scan_problem(patient((Visit(0.0, scan(DENSITIES[1], FET=pet)),)), model, prior)
    assert problem.prior.names == prior.names
    assert [datum.observation for datum in problem.data] == ["core", "whole_tumor", "pet"]
    assert float(problem.data[2].values.max()) == pytest.approx(1.0, abs=0.05)
    # The seed starts in the middle of the core, in patient space.
    np.testing.assert_allclose(
        problem.whole.initial.position, AFFINE[:3, :3] @ np.full(3, 11.5) + AFFINE[:3, 3], atol=0.1
    )
    without = single_scan_problem(patient(VISITS[1:]), model, prior)
    assert set(prior.names) - set(without.prior.names) == {"pet_scale", "pet_background"}
    with pytest.raises(InputError, match="PET image is not positive"):
        single_scan_problem(patient((Visit(0.0, scan(DENSITIES[1], FET=np.zeros_like(pet))),)), model, prior)


@pytest.mark.thorough
def test_two_scans_give_growth_parameters():
    estimator = ParameterEstimator(optimization="gradient", resolution_mm=4.0)
    prior = {"diffusion": ("lognormal", 0.15, 0.5), "proliferation": ("lognormal", 0.03, 0.5)}
    found = estimator.estimate(VISITS[0].scan, VISITS[1].scan, 30, prior)
    assert found["diffusion"] == found["diffusivity"] == pytest.approx(TRUTH["diffusivity"], rel=0.5)
    assert found["proliferation"] == found["proliferation_rate"] == pytest.approx(TRUTH["proliferation_rate"], rel=0.25)
    speed = 2 * np.sqrt(found["diffusion"] * found["proliferation"])
    assert speed == pytest.approx(2 * np.sqrt(0.3 * 0.05), rel=0.2)
    assert found["carrying_capacity"] == 1.0
    assert found.posterior.diagnostics["converged"] is True


@pytest.mark.parametrize("interval", [0, -3.0, float("nan"), float("inf")])
def test_an_interval_is_a_positive_number_of_days(interval):
    estimator = ParameterEstimator(optimization="gradient")
    with pytest.raises(InputError, match="day"):
        estimator.estimate(VISITS[0].scan, VISITS[1].scan, interval)


def test_an_unknown_prior_is_refused():
    estimator = ParameterEstimator(optimization="gradient")
    with pytest.raises(InputError, match=r"no parameter \['speed'\]"):
        estimator.estimate(VISITS[0].scan, VISITS[1].scan, 30, {"speed": ("lognormal", 0.1, 0.5)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimization": "annealing"}, "'annealing' is not available; choose one of bayesian, gradient, pinn"),
        ({"model_type": "cellular_automaton"}, "'cellular_automaton' is unknown; choose one of reaction_diffusion"),
    ],
    ids=str,
)
def test_choices_are_listed(options, message):
    with pytest.raises(InputError, match=message):
        ParameterEstimator(**options)


@pytest.mark.parametrize(("resolution_mm", "edge_mm"), [(6.0, 6.0), (0.5, max(DOMAIN.spacing))])
def test_the_fit_has_its_own_grid_but_never_a_finer_one(resolution_mm, edge_mm):
    model, prior = FisherKPP(DOMAIN), default_prior()
    coarse, fine = coarse_and_fine(lambda m: longitudinal_problem(patient(), m, prior), model, resolution_mm)
    assert coarse.whole.model.domain.spacing == (edge_mm,) * 3
    assert eqx.tree_equal(fine.whole.model, model)
    assert coarse.prior.names == fine.prior.names


@pytest.mark.slow
def test_calibration_on_a_coarser_grid_is_attached_to_the_model_s_own():
    model = FisherKPP(DOMAIN)
    calibration = BayesianCalibration(model, patient(), resolution_mm=6.0, calibrator=LevenbergMarquardt(max_steps=1))
    posterior = calibration.run()
    assert calibration.coarse_problem.whole.model.domain.spacing == (6.0, 6.0, 6.0)
    assert eqx.tree_equal(posterior.problem.whole.model, model)
    noise = posterior.diagnostics["noise"]
    assert posterior.problem.noise == noise
