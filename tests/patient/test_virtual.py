"""The virtual patient: its truth, its synthetic images and its files."""

import dataclasses
import json

import numpy as np
import pytest

from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.domain import resample
from twinjax.imaging.nifti import read_nifti
from twinjax.model import FisherKPP
from twinjax.patient.synthesis import ADC_CELLULAR, ADC_WATER, VOXEL_MM, Visibility
from twinjax.patient.treatment_table import read_treatment_csv
from twinjax.patient.virtual import VirtualPatient, generate, grow
from twinjax.simulation import simulate
from twinjax.treatment import Radiotherapy, Regimen

pytest.importorskip("nilearn")


def irradiation(alpha):
    return Regimen([Radiotherapy([15.0, 16.0, 17.0, 18.0], 2.0, alpha=alpha)])


SMALL = VirtualPatient(
    patient_id="virtual_small",
    seed=3,
    visit_days=(0, 14, 30),
    regimen=irradiation(alpha=0.03),
    core_radius_mm=6.5,
    truth_resolution_mm=1.0,
    field_of_view_mm=48.0,
)


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """The small patient's folder and truth."""
    folder = tmp_path_factory.mktemp("virtual_small")
    return folder, generate(SMALL, folder)


def read(patient, visit, name):
    return read_nifti(patient[0] / f"day_{SMALL.visit_days[visit]:04d}" / f"{name}.nii.gz")


def seen(patient, visit, name):
    """An image, and the true labels and density at its voxels."""
    truth, image = patient[1], read(patient, visit, name)
    labels = truth.domain.to_grid(truth.segmentation(visit), image.affine, image.data.shape, order=0)
    density = truth.domain.to_grid(truth.density[visit], image.affine, image.data.shape)
    return image.data, labels, density


def test_writes_the_raw_layout_marked_synthetic(patient):
    folder, truth = patient
    expected = {*VOXEL_MM, "brain_mask", "white_matter", "grey_matter"}
    for day in SMALL.visit_days:
        assert {path.name.split(".")[0] for path in (folder / f"day_{day:04d}").iterdir()} == expected
    record = json.loads((folder / "truth" / "truth.json").read_text())
    assert record["synthetic"] is True and record["diffusivity"] == SMALL.diffusivity
    assert record["sensitivities"]["radiotherapy"]["alpha"] == pytest.approx(0.03)
    assert record["age_days"] == truth.age_days > 0
    regimen = read_treatment_csv(folder / "treatment.csv")
    np.testing.assert_allclose(regimen.treatments[0].times, [15, 16, 17, 18])
    stored = read_nifti(folder / "truth" / "density_day_0014.nii.gz")
    np.testing.assert_allclose(stored.data, truth.density[1], atol=1e-6)
    np.testing.assert_allclose(stored.affine, truth.domain.affine, atol=1e-5)


@pytest.mark.thorough
def test_equal_settings_give_equal_files(patient, tmp_path):
    generate(SMALL, tmp_path)
    for written in sorted(patient[0].rglob("*.*")):
        assert (tmp_path / written.relative_to(patient[0])).read_bytes() == written.read_bytes()
    other = grow(dataclasses.replace(SMALL, seed=4))
    assert np.abs(other.density[0] - patient[1].density[0]).max() > 0.1


def test_grids_are_oblique_and_anisotropic(patient):
    for name, voxel_mm in VOXEL_MM.items():
        first, second = read(patient, 0, name).affine, read(patient, 1, name).affine
        spacing = np.linalg.norm(first[:3, :3], axis=0)
        np.testing.assert_allclose(spacing, voxel_mm, rtol=1e-4)
        rotation = first[:3, :3] / spacing
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-4)
        assert 8 <= np.rad2deg(np.arccos((np.trace(rotation) - 1) / 2)) <= 12
        assert np.abs(first - second).max() > 0.01


def test_core_has_the_size_asked_for(patient):
    truth = patient[1]
    volume = np.sum(truth.density[0] >= SMALL.visibility.core) * truth.domain.voxel_volume
    wanted = 4 / 3 * np.pi * SMALL.core_radius_mm**3
    # Five days of growth move the front by at most 5 * 2 sqrt(D rho) mm.
    step = 10 * np.sqrt(SMALL.diffusivity * SMALL.proliferation_rate)
    assert wanted <= volume <= wanted * (1 + step / SMALL.core_radius_mm) ** 3


def test_regions_are_nested_and_follow_the_treatment(patient):
    truth = patient[1]
    for visit in range(3):
        labels, density = truth.segmentation(visit), truth.density[visit]
        np.testing.assert_array_equal(np.isin(labels, (1, 3)), density >= SMALL.visibility.core)
        np.testing.assert_array_equal(labels > 0, density >= SMALL.visibility.oedema)
        assert not density[~np.asarray(truth.domain.mask)].any()
        assert np.all(truth.peak_density[visit] >= density)
    cells = truth.density.sum(axis=(1, 2, 3))
    assert cells[1] > cells[0]
    resistant = grow(dataclasses.replace(SMALL, regimen=irradiation(alpha=0.0)))
    assert cells[2] < 0.8 * resistant.density[2].sum()


def test_truth_agrees_with_the_splitting_solver(patient):
    truth = patient[1]
    model = FisherKPP(
        truth.domain, diffusivity=SMALL.diffusivity, proliferation_rate=SMALL.proliferation_rate, white_grey_ratio=10.0
    )
    states = simulate(model, SMALL.regimen, truth.density[0], np.asarray(SMALL.visit_days, float)).states
    difference = np.abs(np.asarray(states) - truth.density).max()
    assert 0 < difference < 5e-3


def test_contrasts_are_those_of_glioblastoma(patient):
    def mean(name, region):
        data, labels, density = seen(patient, 1, name)
        image = read(patient, 1, name)
        maps = (read(patient, 1, tissue) for tissue in ("white_matter", "grey_matter"))
        white, grey = (resample(m.data, m.affine, image.affine, image.data.shape) for m in maps)
        regions = {
            "enhancing": (labels == 3) & (density > 0.65),
            "oedema": (labels == 2) & (density > 0.3) & (density < 0.55),
            "white": (density < 1e-3) & (white > 0.95),
            "grey": (density < 1e-3) & (grey > 0.9),
        }
        assert regions[region].sum() > 10
        return data[regions[region]].mean()

    assert mean("T1", "white") > 1.1 * mean("T1", "grey")
    assert mean("T1CE", "enhancing") > 1.3 * mean("T1CE", "white")
    assert mean("T1", "enhancing") < mean("T1", "white")
    assert mean("FLAIR", "oedema") > 1.4 * mean("FLAIR", "white")
    assert mean("T2", "oedema") > 1.3 * mean("T2", "white")
    assert mean("ADC", "oedema") > mean("ADC", "enhancing") > mean("ADC", "white")


def test_adc_tells_the_density(patient):
    data, labels, density = seen(patient, 1, "ADC")
    fluid_free = (labels > 0) & (density > 0.35)
    recovered = (ADC_WATER - data) / (ADC_WATER - ADC_CELLULAR)
    error = (recovered - density)[fluid_free]
    assert fluid_free.sum() > 200
    assert abs(np.median(error)) < 0.03
    assert np.corrcoef(recovered[fluid_free], density[fluid_free])[0, 1] > 0.9


def test_noise_has_the_level_asked_for(patient, tmp_path):
    generate(dataclasses.replace(SMALL, noise_level=0.0), tmp_path)
    noisy, clean = (read_nifti(f / "day_0000" / "ADC.nii.gz").data for f in (patient[0], tmp_path))
    relative = noisy[clean > 0] / clean[clean > 0] - 1
    assert relative.std() == pytest.approx(SMALL.noise_level, rel=0.05)
    noisy, clean = (read_nifti(f / "day_0000" / "T1.nii.gz").data for f in (patient[0], tmp_path))
    bright = clean > 400
    # 800 is the signal of white matter in T1.
    assert (noisy - clean)[bright].std() == pytest.approx(SMALL.noise_level * 800, rel=0.05)
    assert (clean[read_nifti(tmp_path / "day_0000" / "brain_mask.nii.gz").data == 0] == 0).all()


def test_the_named_patient_is_the_documented_one():
    config = load_named("patient", "virtual_glioblastoma")
    assert config.visit_days == (0, 14, 60, 95, 140, 185)
    radiotherapy = next(t for t in config.regimen.treatments if isinstance(t, Radiotherapy))
    assert radiotherapy.times.size == 30 and float(radiotherapy.times[0]) == 17
    assert config.parameters()["sensitivities"]["temozolomide"]["sensitivity"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visit_days": (-3, 0)}, "visit_days"),
        ({"visit_days": (0, 30, 14)}, "visit_days"),
        ({"visit_days": (0, 1.5)}, "visit_days"),
        ({"visit_days": ()}, "visit_days"),
        ({"diffusivity": 0.0}, "diffusivity"),
        ({"proliferation_rate": float("nan")}, "proliferation_rate"),
        ({"noise_level": -0.1}, "noise_level"),
        ({"field_of_view_mm": 10.0}, "field_of_view_mm"),
        ({"seed_position_mm": (1.0, 2.0)}, "seed_position_mm"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SMALL, **change)


def test_thresholds_out_of_order_are_refused():
    with pytest.raises(InputError, match="oedema"):
        Visibility(oedema=0.7, core=0.6)


def test_a_seed_outside_white_matter_is_refused():
    with pytest.raises(InputError, match="white matter"):
        grow(dataclasses.replace(SMALL, seed_position_mm=(0.0, 120.0, 0.0)))


@pytest.mark.slow
def test_a_tumour_that_outgrows_its_box_is_refused():
    with pytest.raises(InputError, match="wall"):
        grow(dataclasses.replace(SMALL, core_radius_mm=15.0, truth_resolution_mm=3.0))


@pytest.mark.slow
def test_a_tumour_of_one_visit_has_room_for_its_foci():
    truth = grow(dataclasses.replace(SMALL, visit_days=(0,), truth_resolution_mm=3.0))
    assert truth.density.shape == (1, *truth.domain.shape)


def test_a_tumour_that_cannot_grow_is_refused():
    with pytest.raises(InputError, match="core_radius_mm"):
        grow(dataclasses.replace(SMALL, proliferation_rate=1e-3, truth_resolution_mm=3.0))


def test_a_folder_with_other_visits_is_refused(tmp_path):
    (tmp_path / "day_0007").mkdir()
    with pytest.raises(InputError, match="day_0007"):
        generate(SMALL, tmp_path)
