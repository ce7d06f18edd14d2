"""What FET-PET and necrosis add to the inverse problem of a patient with several visits. All data are synthetic."""

import numpy as np
import pytest

from twinjax.calibration import longitudinal_problem
from twinjax.calibration.estimator import default_prior
from twinjax.core.config import load_named
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.imaging.scan import Scan
from twinjax.model import FisherKPP, ProliferatingNecrotic
from twinjax.observation import CellDensityObservation, ViableDensityObservation, ViablePETObservation
from twinjax.patient import PatientData, Visit

N, EDGE = 16, 3.0
AFFINE = np.diag([EDGE, EDGE, EDGE, 1.0])
DOMAIN = Domain(np.ones((N,) * 3), (EDGE,) * 3, affine=AFFINE)
RADIUS = np.linalg.norm(np.indices((N,) * 3) - (N - 1) / 2, axis=0) * EDGE


def visit(day: float, size: float, **images) -> Visit:
    """A ball with a core of `size` mm, necrotic in its inner half, and oedema 6 mm around it."""
    labels = np.select([RADIUS - size < edge for edge in (-size / 2, 0, 6)], [1, 3, 2]).astype(np.int8)
    return Visit(day, Scan(AFFINE, images, segmentation=labels, brain_mask=np.ones(labels.shape, bool)))


def uptake(size: float, unit: float = 2.5) -> np.ndarray:
    return (unit * (0.2 + 0.8 / (1 + np.exp((RADIUS - size) / 2)))).astype(np.float32)


def patient(*visits: Visit) -> PatientData:
    return PatientData.from_visits("synthetic", visits, None, DOMAIN, source="synthetic")


def test_fet_of_every_visit_is_data_on_one_scale():
    """The baseline in its core, later visits in the whole tumour, all in units of the first peak."""
    visits = (visit(0.0, 9.0, FET=uptake(9.0)), visit(30.0, 12.0, FET=1.5 * uptake(12.0)))
    prior = default_prior()
    problem = longitudinal_problem(patient(*visits), FisherKPP(DOMAIN), prior)
    first, second = (datum for datum in problem.data if datum.observation == "pet")
    assert (first.day, second.day) == (0.0, 30.0)
    assert (first.values.size, second.values.size) == ((RADIUS < 9).sum(), (RADIUS < 18).sum())
    peak = np.percentile(uptake(9.0)[RADIUS < 15], 99)
    np.testing.assert_allclose(np.sort(first.values), np.sort(uptake(9.0)[RADIUS < 9]) / peak, rtol=1e-5)
    np.testing.assert_allclose(second.values.max(), 1.5 * uptake(12.0)[RADIUS < 18].max() / peak, rtol=1e-5)
    assert {"pet_scale", "pet_background"} < set(problem.prior.names)


def test_fet_of_one_visit_only_and_none_that_is_positive():
    later = patient(visit(0.0, 9.0), visit(30.0, 12.0, FET=uptake(12.0)))
    problem = longitudinal_problem(later, FisherKPP(DOMAIN), default_prior())
    assert [datum.day for datum in problem.data if datum.observation == "pet"] == [30.0]
    blank = patient(visit(0.0, 9.0), visit(30.0, 12.0, FET=0 * uptake(12.0)))
    with pytest.raises(InputError, match="PET image is not positive"):
        longitudinal_problem(blank, FisherKPP(DOMAIN), default_prior())


def test_the_necrotic_core_is_seen_by_a_model_that_has_one():
    adc = np.where(RADIUS < 12, 1.4e-3, 0.8e-3).astype(np.float32)
    images = {"ADC": adc, "FET": uptake(12.0)}
    both = patient(visit(0.0, 9.0, **images), visit(30.0, 12.0, **images))
    problem = longitudinal_problem(both, ProliferatingNecrotic(DOMAIN), load_named("prior", "glioblastoma_necrotic"))
    (dead,) = (datum for datum in problem.data if datum.observation == "necrosis")
    assert dead.day == 30.0
    assert float(dead.values.sum()) == (RADIUS < 6).sum()
    observations = problem.tumor.observation
    assert isinstance(observations["cell_density"], ViableDensityObservation)
    assert isinstance(observations["pet"], ViablePETObservation)
    assert {"necrosis_rate", "nutrient_threshold", "nutrient_uptake"} < set(problem.prior.names)
    # Dead cells hinder no water and take nothing up.
    state = problem.tumor.state0()
    without = state | {"proliferating": 0 * state["proliferating"]}
    model = problem.tumor.model
    assert float(np.abs(observations["cell_density"].predict(model, without)).max()) == 0
    np.testing.assert_allclose(observations["pet"].predict(model, without), observations["pet"].background)
    assert (
        float(observations["necrosis"].predict(model, state | {"necrotic": 0 * state["necrotic"] + 0.5}).mean()) == 0.5
    )
    plain = longitudinal_problem(both, FisherKPP(DOMAIN), default_prior())
    assert "necrosis" not in plain.tumor.observation
    assert isinstance(plain.tumor.observation["cell_density"], CellDensityObservation)
