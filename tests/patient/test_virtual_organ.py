"""Virtual organs: the phantom of a breast, and what is scanned of a tumour in it."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from twinjax.calibration import longitudinal_problem
from twinjax.calibration.prior import Prior
from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.model import AnisotropicFisherKPP, FisherKPP, TripleNegativeBreast
from twinjax.patient import VirtualOrgan
from twinjax.patient.phantom import brain, breast
from twinjax.solver import StrangSplitting
from twinjax.treatment import Chemotherapy, Regimen

PHANTOM = breast(30, 30, resolution_mm=3.0, seed=1)
DOSES = {"drug": "doxorubicin", "sensitivity": 0.6, "clearance_rate": 0.6, "reference_dose": 60}
DRUG = Regimen([Chemotherapy([3.0, 17.0], 60.0, **DOSES)])
MODEL = TripleNegativeBreast(PHANTOM, diffusivity=8e-4, mechanics_resolution_mm=6.0)
ORGAN = VirtualOrgan(
    "virtual_small",
    MODEL,
    [3.0, -2.0, 13.0],
    9.0,
    [0, 14, 28],
    regimen=DRUG,
    seed=2,
    measurements={"cell_volume_mm3": 0.1},
    truth={"diffusivity": 8e-4},
    solver=StrangSplitting(),
    max_step=2.0,
)


@pytest.fixture(scope="module")
def patient():
    return ORGAN.generate()


def test_breast_is_made_of_its_tissues():
    mask = np.asarray(PHANTOM.mask)
    fat, gland, drug = (np.asarray(PHANTOM.map(n)) for n in ("adipose", "fibroglandular", "drug_distribution"))
    np.testing.assert_allclose((fat + gland)[mask], 1.0, atol=1e-6)
    assert gland[mask].mean() == pytest.approx(0.4, abs=0.03)
    assert drug[mask].mean() == pytest.approx(1.0, abs=1e-6) and drug[mask].min() > 0 and drug[mask].std() > 0.15
    # Half an ellipsoid, whose flat side is the chest wall.
    assert mask.sum() * PHANTOM.voxel_volume == pytest.approx(2 / 3 * np.pi * 30**3, rel=0.06)
    assert mask[:, :, 0].sum() == mask.any(axis=2).sum()
    # Gland lies behind the nipple, fat along the chest wall.
    assert gland[:, :, 5].sum() / mask[:, :, 5].sum() > gland[:, :, 0].sum() / mask[:, :, 0].sum()


def test_scans_show_the_tumour_and_the_organ(patient):
    baseline = patient.baseline.scan
    volume = baseline.whole_tumor.sum() * np.prod(baseline.spacing)
    true = (patient.truth.density[0] >= 0.25).sum() * PHANTOM.voxel_volume
    assert volume == pytest.approx(true, rel=0.25)
    assert baseline.core.sum() < baseline.whole_tumor.sum()
    assert not (baseline.whole_tumor & ~baseline.brain_mask).any()
    centre = np.asarray(np.nonzero(baseline.whole_tumor)).mean(axis=1)
    place = (baseline.affine @ [*centre, 1.0])[:3]
    np.testing.assert_allclose(place, ORGAN.position_mm, atol=3.0)
    adc, seen = baseline.images["ADC"], baseline.core
    density = patient.brain_mask.from_grid(patient.truth.density[0], PHANTOM.affine)
    recovered = (3.0e-3 - adc[seen]) / (3.0e-3 - 0.8e-3)
    assert np.median(recovered - density[seen]) == pytest.approx(0, abs=0.04)
    assert set(patient.brain_mask.maps) == set(PHANTOM.maps)
    assert patient.source == "synthetic" and patient.truth.parameters == {"diffusivity": 8e-4}


def test_the_drug_shrinks_it_and_is_measured(patient):
    cells = patient.truth.density.sum(axis=(1, 2, 3)) * PHANTOM.voxel_volume
    assert cells[2] < cells[1] < cells[0]
    measured = np.asarray([visit.measurements["cell_volume_mm3"] for visit in patient.visits])
    assert 0 < np.abs(np.log(measured / cells)).max() < 0.35
    # More of it dies where more of the drug comes to.
    inside = (patient.truth.density[0] > 0.4) & np.asarray(PHANTOM.mask)
    left = np.log(patient.truth.density[2][inside] / patient.truth.density[0][inside])
    exposure = np.asarray(PHANTOM.map("drug_distribution"))[inside]
    assert np.corrcoef(left, exposure)[0, 1] < -0.9


def test_equal_settings_give_equal_patients(patient):
    again, other = ORGAN.generate(), dataclasses.replace(ORGAN, seed=3).generate()
    for visit, same in zip(patient.visits, again.visits, strict=True):
        np.testing.assert_array_equal(visit.scan.images["ADC"], same.scan.images["ADC"])
        assert visit.measurements == same.measurements
    assert np.abs(other.truth.density[0] - patient.truth.density[0]).max() > 0.1


@pytest.mark.slow
def test_the_fit_knows_the_record_alone():
    recorded = Regimen([Chemotherapy([3.0, 17.0], 60.0, drug="doxorubicin", sensitivity=0.25)])
    patient = dataclasses.replace(ORGAN, recorded_regimen=recorded, visit_days=[0.0]).generate()
    assert float(patient.regimen.treatments[0].sensitivity) == 0.25


@pytest.mark.slow
def test_it_can_be_calibrated_to(patient):
    model = TripleNegativeBreast(patient.brain_mask, resolution_mm=4.0, mechanics_resolution_mm=8.0)
    prior = Prior({"drug": {"distribution": ("uniform", 0.0, 1.0), "where": ["regimen.doxorubicin.sensitivity"]}})
    problem = longitudinal_problem(patient, model, prior, margin_mm=8.0, max_step=7.0)
    misfit = [float(jnp.sum(problem.residuals(jnp.array([z])) ** 2)) for z in (-1.5, 0.25, 2.5)]
    assert np.isfinite(misfit).all() and misfit[1] < min(misfit[0], misfit[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visit_days": [1, 2]}, "visit_days"),
        ({"position_mm": [90.0, 0.0, 10.0]}, "position_mm"),
        ({"radius_mm": -1.0}, "radius_mm"),
        ({"levels": {"core": 0.2, "whole_tumor": 0.3}}, "levels"),
        ({"peak_density": 0.4}, "peak_density"),
        ({"adc_noise": 1.5}, "adc_noise"),
        ({"scan_voxel_mm": [1.0, 1.0]}, "scan_voxel_mm"),
        ({"model": FisherKPP(PHANTOM.cropped((0, 0, 0), (5, 5, 1)))}, "position_mm"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(ORGAN, **change)


def test_unknown_measurements_are_refused():
    with pytest.raises(InputError, match="psa_ng_ml"):
        dataclasses.replace(ORGAN, measurements={"psa_ng_ml": 0.1}, visit_days=[0.0]).generate()
    with pytest.raises(InputError, match="density"):
        breast(density=1.5)


def test_the_named_patient_says_its_own_truth():
    named = load_named("patient", "virtual_triple_negative_breast")
    for name in ("diffusivity", "mechanical_coupling", "proliferation_rate"):
        assert named.truth[name] == pytest.approx(float(getattr(named.model, name)))
    for treatment in named.regimen.treatments:
        assert named.truth[f"{treatment.name}_sensitivity"] == pytest.approx(float(treatment.sensitivity))
    assert named.truth["core_threshold"] == named.levels["core"]
    recorded = {treatment.name: treatment for treatment in named.recorded_regimen.treatments}
    for treatment in named.regimen.treatments:
        np.testing.assert_array_equal(treatment.times, recorded[treatment.name].times)


@pytest.mark.thorough
def test_made_up_fibres_follow_the_white_matter():
    """They run along its surface, not through it, and there is none in grey matter."""
    pytest.importorskip("nilearn")
    domain = brain((10.0, 25.0, 10.0), 36.0, resolution_mm=1.0, fibres=True)
    model = AnisotropicFisherKPP(domain)
    white = np.asarray(domain.white_matter)
    slope = np.stack(np.gradient(ndimage.gaussian_filter(white, 1.5)))
    steep = np.asarray(domain.mask) & (white > 0.5) & (np.linalg.norm(slope, axis=0) > 0.1)
    assert steep.sum() > 1000
    rows = [[np.asarray(model.fibre[min(a, b) + max(a, b)]) for b in "xyz"] for a in "xyz"]
    through = np.einsum("ixyz,ijxyz,jxyz->xyz", slope, rows, slope) / np.sum(slope**2, axis=0).clip(1e-9)
    # A direction of its own in every voxel would give one third.
    assert through[steep].mean() < 0.15
    anisotropy = np.asarray(model.fractional_anisotropy)
    assert anisotropy[white > 0.95].mean() > 0.6
    assert anisotropy[np.asarray(domain.mask) & (white < 0.05)].mean() < 0.1
