"""The public face: the code of docs/public-face.md runs as written, here on a small virtual (synthetic) patient."""

import re
from pathlib import Path

import numpy as np
import pytest

from twinjax.core.errors import MissingDependencyError
from twinjax.imaging import ImagingPipeline
from twinjax.patient.virtual import VirtualPatient, generate

pytest.importorskip("monai")
pytest.importorskip("nilearn")

pytestmark = pytest.mark.optimized

DOCUMENT = Path(__file__).parent.parent / "docs" / "public-face.md"
IMAGING, ESTIMATION, TWIN = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)

TRUTH = VirtualPatient(
    patient_id="virtual_small",
    visit_days=(0, 30),
    core_radius_mm=6.0,
    diffusivity=0.06,
    truth_resolution_mm=1.5,
    field_of_view_mm=52.0,
)
# Two visits on a 3 mm grid hold growth well and diffusion poorly.
LOOSE = {"proliferation": 2.0, "diffusion": 5.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with the raw patient_001/ and the processed GBM_001/."""
    folder = tmp_path_factory.mktemp("public_face")
    generate(TRUTH, folder / "patient_001")
    pipeline = ImagingPipeline(["T1", "T1CE", "T2", "FLAIR"], segmentation_model="rule_based")
    pipeline.process(folder / "patient_001", folder / "GBM_001")
    return folder


@pytest.fixture(scope="module")
def names(folder):
    """The names that the imaging part leaves, with the one segmenter that needs no weights."""
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(IMAGING.replace('"nnunet_brain_tumor"', '"rule_based"'), names)
    return names


def test_the_snippet_as_it_stands_says_which_model_is_missing(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(MissingDependencyError, match="nnU-Net.*model_folder") as caught:
        exec(IMAGING, {})
    assert "\n" not in str(caught.value)


def test_processed_scans_share_one_grid(names, folder):
    processed = names["processed"]
    baseline, followup = processed["scan_baseline"], processed["scan_followup"]
    assert processed["imaging"].shape == (1, 4, *baseline.shape)
    assert processed["segmentation"].shape == (1, 1, *baseline.shape)
    for scan in (baseline, followup):
        np.testing.assert_allclose(scan.affine, np.asarray(processed["imaging"].affine), atol=1e-4)
        np.testing.assert_allclose(scan.spacing, 1.0, atol=1e-3)
    # The order of the channels is that of `modalities`.
    for channel, name in enumerate(("T1", "T1CE", "T2", "FLAIR")):
        np.testing.assert_array_equal(np.asarray(processed["imaging"][0, channel]), baseline.image(name))
    assert followup.core.sum() > 1.5 * baseline.core.sum() > 0
    assert sorted(path.name for path in (folder / "processed" / "patient_001").iterdir()) == [
        "contact_sheet.png",
        "day_0000",
        "day_0030",
        "features.json",
        "imaging.json",
        "treatment.csv",
    ]


def test_a_monai_inferer_takes_the_images_as_they_are(names):
    torch = pytest.importorskip("torch")
    from monai.inferers.inferer import SlidingWindowInferer
    from monai.networks.nets.segresnet import SegResNet

    torch.manual_seed(0)
    segmentor = SegResNet(init_filters=8, in_channels=4, out_channels=3, blocks_down=(1, 1), blocks_up=(1,)).eval()
    inferer = SlidingWindowInferer(roi_size=(32, 32, 32), overlap=0.0)
    with torch.inference_mode():
        logits = inferer(names["processed"]["imaging"], segmentor)
    assert logits.shape == (1, 3, *names["processed"]["imaging"].shape[2:])
    assert bool(torch.isfinite(logits).all())
    np.testing.assert_allclose(logits.affine, names["processed"]["imaging"].affine)


def near(found: float, true: float, factor: float) -> bool:
    return true / factor < found < true * factor


@pytest.mark.thorough
def test_estimation_finds_the_growth(names, folder, monkeypatch):
    monkeypatch.chdir(folder)
    exec(ESTIMATION, names)
    parameters = names["parameters"]
    assert near(parameters["diffusion"], TRUTH.diffusivity, LOOSE["diffusion"])
    assert near(parameters["proliferation"], TRUTH.proliferation_rate, LOOSE["proliferation"])
    assert parameters["carrying_capacity"] == 1.0
    assert parameters.posterior.diagnostics["converged"]


@pytest.mark.thorough
def test_twin_is_calibrated_and_forecasts(names, folder, monkeypatch):
    monkeypatch.chdir(folder)
    exec(TWIN, names)
    posterior, prediction, patient = names["posterior"], names["prediction"], names["patient"]
    estimate, interval = posterior.map_estimate, posterior.credible_interval(0.95)
    assert posterior.diagnostics["converged"], posterior.diagnostics
    assert all(low < estimate[name] < high for name, (low, high) in interval.items())
    assert near(estimate["diffusivity"], TRUTH.diffusivity, LOOSE["diffusion"])
    assert near(estimate["proliferation_rate"], TRUTH.proliferation_rate, LOOSE["proliferation"])
    assert sum(draws.size for draws in posterior.samples.values()) == 1000 * len(posterior.names)
    np.testing.assert_array_equal(prediction.times, [30, 60, 90, 120, 150, 180])
    assert prediction.density_mean.shape == prediction.density_std.shape == (6, *prediction.domain.shape)
    np.testing.assert_allclose(prediction.domain.spacing, 1.0, rtol=1e-6)
    assert np.isfinite(prediction.density_mean).all() and prediction.density_mean.max() <= 1
    assert prediction.density_std.max() > 0
    volume = prediction.interval("core_volume_mm3")
    assert (np.diff(volume[1]) >= 0).all() and (volume[0] <= volume[2]).all()
    # Day 30 was measured.
    low, _, high = prediction.interval("core_volume_mm3", measured=True)[:, 0]
    measured = patient.visits[1].scan.core.sum() * np.prod(patient.visits[1].scan.spacing)
    assert low < measured < high
