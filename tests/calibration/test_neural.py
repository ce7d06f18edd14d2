"""A network for the proliferating fraction, trained through the solver, on a synthetic patient of known pattern."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.calibration.neural import DensityFollowUp, FractionTraining, PSASeries
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import ConstantFraction, PointSeed, Prostate
from twinjax.model.neural_fraction import NeuralFraction
from twinjax.simulation import simulate
from twinjax.treatment import Regimen

SHAPE = (12, 10)
PSA_DAYS = np.arange(0.0, 481.0, 60.0)
SCAN_DAY, FORECAST_DAY = 480.0, 900.0
# Growth on the one side of the gland, nearly none on the other.
PATTERN = np.where(np.arange(SHAPE[0])[:, None] < 6, 0.95, 0.15) * np.ones(SHAPE)
DENSITY = 0.5


def quantities(model: Prostate, density, days) -> dict:
    states = simulate(model, Regimen(), model.initial_state(density), days, max_step=15.0).require_success().states
    return jax.vmap(model.quantities)(states) | {"density": states.density}


@pytest.fixture(scope="module")
def patient():
    """A synthetic patient: the model with its true pattern, the tumour at day 0, PSA with noise and a scan."""
    domain = Domain(np.ones(SHAPE), (4.0, 4.0))
    model = Prostate(
        domain, proliferation_rate=0.008, proliferating_fraction=ConstantFraction(PATTERN), diffusivity=0.01
    )
    density = DENSITY * PointSeed([22.0, 18.0], radius=8.0, amplitude=1.0)(domain)
    true = quantities(model, density, np.append(PSA_DAYS, FORECAST_DAY))
    noise = np.exp(0.02 * np.random.default_rng(0).normal(size=PSA_DAYS.size))
    psa = PSASeries(PSA_DAYS, np.asarray(true["psa_ng_ml"][:-1]) * noise)
    seen = DensityFollowUp(SCAN_DAY, np.asarray(true["density"][-2]))
    return model, density, psa, seen, jax.tree.map(lambda leaf: np.asarray(leaf[-1]), true)


def forecast_errors(fraction, patient, training: FractionTraining):
    model, density, psa, seen, truth = patient
    start = Prostate(model.domain, proliferation_rate=0.008, proliferating_fraction=fraction, diffusivity=0.01)
    trained = training.fit(start, Regimen(), density, psa, [seen])
    got = quantities(trained.model, density, [FORECAST_DAY])
    names = ("volume_mm3", "psa_ng_ml")
    return trained, {name: abs(float(got[name][0]) / float(truth[name]) - 1) for name in names}


@pytest.mark.slow
def test_a_trained_pattern_forecasts_better_than_the_best_constant(patient):
    network = NeuralFraction(axes=2, time_scale=FORECAST_DAY, width=12, depth=2)
    training = FractionTraining(adam_steps=120, learning_rate=0.02, lbfgs_steps=15, max_step=30.0)
    trained, errors = forecast_errors(network, patient, training)
    constant, plain = forecast_errors(ConstantFraction(0.5), patient, training)
    assert trained.losses[-1] < 0.1 * trained.losses[0]
    assert trained.losses[-1] < 0.5 * constant.losses[-1]
    assert errors["volume_mm3"] < 0.5 * plain["volume_mm3"], (errors, plain)
    assert errors["psa_ng_ml"] < 0.5 * plain["psa_ng_ml"], (errors, plain)
    model = trained.model
    fraction = model.proliferating_fraction(model.domain, jnp.asarray(patient[3].density), jnp.asarray(SCAN_DAY))
    tumor = np.asarray(patient[3].density) > 0.1
    assert float(jnp.mean(fraction[:6][tumor[:6]])) > 1.5 * float(jnp.mean(fraction[6:][tumor[6:]]))


@pytest.fixture
def row():
    """A row of voxels with a tumour whose fraction is 0.9: the model but for that, the density and the data."""
    domain = Domain(np.ones(8), (4.0,))
    density = DENSITY * PointSeed([14.0], radius=8.0, amplitude=1.0)(domain)
    network = NeuralFraction(axes=1, time_scale=200.0, width=3, depth=1)
    model = Prostate(domain, proliferation_rate=0.008, proliferating_fraction=network)
    grown = 1 / (1 + (1 / jnp.maximum(density, 1e-9) - 1) * np.exp(-0.9 * 0.008 * 200))
    return model, density, PSASeries([0.0], [2.8]), DensityFollowUp(200.0, grown)


@pytest.mark.slow
def test_training_follows_the_gradient_of_the_solver(row):
    """The loss falls, and nothing but the network's weights moves."""
    model, density, psa, seen = row
    trained = FractionTraining(adam_steps=8, learning_rate=0.1, lbfgs_steps=0, max_step=100.0).fit(
        model, Regimen(), density, psa._replace(values=[float(model.initial_state(density).serum_psa)]), [seen]
    )
    assert trained.losses.shape == (8,)
    assert trained.losses[-1] < 0.2 * trained.losses[0]
    before, after = (eqx.tree_at(lambda m: m.proliferating_fraction.network, m, None) for m in (model, trained.model))
    assert eqx.tree_equal(before, after)


def test_data_that_do_not_fit_are_refused(row):
    model, density, psa, _ = row
    training = FractionTraining(adam_steps=1, lbfgs_steps=0)
    with pytest.raises(InputError, match="positive value"):
        training.fit(model, Regimen(), density, PSASeries([0.0], [0.0]))
    with pytest.raises(InputError, match="shape"):
        training.fit(model, Regimen(), density, psa, [DensityFollowUp(10.0, np.ones((2, 2)))])
    with pytest.raises(InputError, match="adam_steps"):
        FractionTraining(adam_steps=0, lbfgs_steps=0)
