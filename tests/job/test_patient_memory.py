"""A patient that does not fit into memory is refused before anything is computed."""

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.calibration import longitudinal_problem
from twinjax.calibration.curvature import residuals_and_jacobian
from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.scan import Scan
from twinjax.job import JobSettings, memory
from twinjax.job.memory import check_memory, jacobian_arrays, voxels_around
from twinjax.model import FisherKPP
from twinjax.patient import PatientData, Visit
from twinjax.solver import StrangSplitting

EDGE = 2.0
AFFINE = np.diag([EDGE, EDGE, EDGE, 1.0])
DOMAIN = Domain(np.ones((40, 36, 32)), (EDGE,) * 3, affine=AFFINE)
MODEL = FisherKPP(DOMAIN)
PRIOR = load_named("prior", "glioblastoma")
SETTINGS = JobSettings(resolution_mm=EDGE, margin_mm=8.0)


def scan(radius_mm: float) -> Scan:
    """A ball of tumour with a rim of oedema, and ADC."""
    distance = np.linalg.norm(np.asarray(DOMAIN.coordinates()) - np.reshape([36.0, 34.0, 30.0], (3, 1, 1, 1)), axis=0)
    labels = np.where(distance < radius_mm, 3, np.where(distance < radius_mm + 4, 2, 0)).astype(np.int8)
    adc = np.full(DOMAIN.shape, 1.2e-3, np.float32)
    return Scan(AFFINE, {"ADC": adc}, segmentation=labels, brain_mask=np.ones(DOMAIN.shape, bool))


VISITS = [Visit(30.0 * number, scan(8.0 + number)) for number in range(4)]
PATIENT = PatientData.from_visits("synthetic", VISITS, None, DOMAIN, source="synthetic")


class OnTwo(diffrax.Euler):
    """Of a machine with two devices."""

    devices: int = 2


def test_a_forecast_of_too_many_days_is_refused():
    check_memory(PATIENT, MODEL, PRIOR, SETTINGS, None, forecast_days=40)
    with pytest.raises(InputError, match=r"the forecast, of .* million voxels, needs about .*forecast.interval_days"):
        check_memory(PATIENT, MODEL, PRIOR, SETTINGS, None, forecast_days=10**8)


def test_a_fit_that_does_not_fit_is_refused_and_several_devices_hold_more(monkeypatch):
    needed = 8 * voxels_around(PATIENT, MODEL, 8.0, EDGE) * jacobian_arrays(len(PRIOR.names), 4)
    monkeypatch.setattr(memory, "free_device_bytes", lambda devices: 0.6 * needed * devices)
    with pytest.raises(InputError, match=r"the fit, of .* larger calibration.resolution_mm"):
        check_memory(PATIENT, MODEL, PRIOR, SETTINGS, StrangSplitting(), forecast_days=1)
    check_memory(PATIENT, MODEL, PRIOR, SETTINGS, OnTwo(), forecast_days=1)


def test_the_box_is_that_of_the_problem():
    problem = longitudinal_problem(PATIENT, MODEL, PRIOR, margin_mm=8.0)
    assert voxels_around(PATIENT, MODEL, 8.0, EDGE) == pytest.approx(problem.tumor.model.domain.mask.size, rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("visits", [2, 3, 4])
def test_the_estimate_is_what_the_compiled_jacobian_takes(visits):
    problem = longitudinal_problem(PATIENT.until(30.0 * (visits - 1)), MODEL, PRIOR, margin_mm=8.0)
    n = problem.dimension
    planned = residuals_and_jacobian.lower(problem, jnp.zeros(n), jnp.eye(n)).compile().compiled.memory_analysis()
    taken = planned.temp_size_in_bytes + planned.argument_size_in_bytes + planned.output_size_in_bytes
    arrays = taken / (8 * problem.tumor.model.domain.mask.size)
    assert jacobian_arrays(n, visits) == pytest.approx(arrays, rel=0.3)
