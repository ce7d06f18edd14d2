"""A patient that does not fit into memory is refused before anything is computed."""

import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.calibration import longitudinal_problem
from twinjax.calibration.curvature import residuals_and_jacobian
from twinjax.core import memory
from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.job import JobSettings
from twinjax.job.memory import check_memory, jacobian_arrays, voxels_around
from twinjax.model import FisherKPP

# Making the patient takes a while; `tests/core/test_memory.py` has the refusal itself.
pytestmark = pytest.mark.slow
SETTINGS = JobSettings(resolution_mm=3.0, margin_mm=12.0)


@pytest.fixture(scope="module")
def patient():
    return load_named("patient", "virtual_glioblastoma_maps").generate()


@pytest.fixture(scope="module")
def model(patient):
    return FisherKPP(patient.brain_mask, resolution_mm=2.0)


def test_a_forecast_of_too_many_days_is_refused(patient, model):
    prior = load_named("prior", "glioblastoma")
    check_memory(patient, model, prior, SETTINGS, forecast_days=40)
    with pytest.raises(InputError, match=r"the forecast, of .* million voxels, needs about .*forecast.interval_days"):
        check_memory(patient, model, prior, SETTINGS, forecast_days=10**8)


def test_a_fit_that_a_small_machine_cannot_hold_is_refused(patient, model, monkeypatch):
    prior = load_named("prior", "glioblastoma")
    monkeypatch.setattr(memory, "free_bytes", lambda: 1e6)
    with pytest.raises(InputError, match=r"the fit, of .* larger calibration.resolution_mm"):
        check_memory(patient, model, prior, SETTINGS, forecast_days=40)


def test_the_box_is_that_of_the_problem(patient, model):
    past = patient.until(patient.days[1])
    problem = longitudinal_problem(past, model, load_named("prior", "glioblastoma"), margin_mm=12.0)
    voxels = voxels_around(past, model, 12.0, 2.0)
    assert voxels == pytest.approx(problem.tumor.model.domain.mask.size, rel=0.25)


@pytest.mark.parametrize("visits", [2, 3])
def test_the_estimate_is_what_the_compiled_jacobian_takes(patient, model, visits):
    coarse = model.on(model.domain.resampled(3.0))
    problem = longitudinal_problem(
        patient.until(patient.days[visits - 1]), coarse, load_named("prior", "glioblastoma"), margin_mm=12.0
    )
    n = problem.dimension
    compiled = residuals_and_jacobian.lower(problem, jnp.zeros(n), jnp.eye(n)).compile().compiled
    planned = compiled.memory_analysis()
    taken = planned.temp_size_in_bytes + planned.argument_size_in_bytes + planned.output_size_in_bytes
    arrays = taken / (8 * np.asarray(problem.tumor.model.domain.mask).size)
    assert jacobian_arrays(n, visits) == pytest.approx(arrays, rel=0.3)
