"""Published models without space: Hu, Simeoni, Mazzocco. Their published runs are in `experiments/verification`."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.core.errors import InputError
from twinjax.model import Forcing, HuImmune, Mazzocco, Simeoni
from twinjax.simulation import simulate
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

MODELS = [(HuImmune(), 1300.0), (Simeoni(), 60.0), (Mazzocco(), 33.0)]
DRUG = Chemotherapy([2.0, 9.0], 1.0, sensitivity=0.4, clearance_rate=0.5, reference_dose=1.0)


@pytest.mark.parametrize(("model", "size"), MODELS, ids=lambda part: type(part).__name__)
def test_size_at_the_start_is_that_given(model, size):
    found = model.quantities(model.initial_state(jnp.asarray(size)))
    np.testing.assert_allclose(found[model.size_quantity], size)


@pytest.mark.parametrize(
    ("model", "size"),
    [*(pytest.param(*pair, marks=pytest.mark.thorough) for pair in MODELS[:-1]), MODELS[-1]],
    ids=lambda part: type(part).__name__,
)
def test_a_drug_and_a_fraction_make_it_smaller(model, size):
    sizes = []
    for treatments in ([], [DRUG], [DRUG, Radiotherapy([5.0], 8.0)]):
        trajectory = simulate(model, Regimen(treatments), model.initial_state(jnp.asarray(size)), [40.0])
        state = jax.tree.map(lambda leaf: leaf[0], trajectory.require_success().states)
        sizes.append(float(model.quantities(state)[model.size_quantity]))
    assert sizes[0] > sizes[1] > sizes[2] > 0


@pytest.mark.parametrize(("model", "size"), MODELS, ids=lambda part: type(part).__name__)
def test_gradients_are_finite_even_where_nothing_is_left(model, size):
    def rate(model, size, kill_rate):
        state = model.initial_state(size)
        change = model.vector_field(1.0, state, Forcing(kill_rate))
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(change))

    for at in (0.0, size):
        gradient = jax.grad(rate, argnums=(0, 1, 2))(model, jnp.asarray(at), jnp.asarray(0.1))
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))


def test_simeoni_cells_that_a_drug_dooms_vanish_later():
    model = Simeoni()
    state = model.initial_state(jnp.asarray(100.0))
    hit = model.apply_survival(state, jnp.asarray(0.3))
    np.testing.assert_allclose(hit, [30, 70, 0, 0])
    still = Simeoni(exponential_rate=1e-12, transit_rate=1.0)
    controller = diffrax.PIDController(rtol=1e-10, atol=1e-12)
    after = simulate(still, Regimen(), hit, [2.0], stepsize_controller=controller).require_success().states[0]
    # Erlang: what is left in three compartments after two mean passages.
    np.testing.assert_allclose(after, [30, 70 * np.exp(-2), 70 * 2 * np.exp(-2), 70 * 2 * np.exp(-2)], rtol=1e-7)


def test_simeoni_growth_turns_from_exponential_to_linear():
    model = Simeoni()
    small, large = (
        model.vector_field(0.0, model.initial_state(jnp.asarray(v)), Forcing(jnp.zeros(()))) for v in (1.0, 1e8)
    )
    np.testing.assert_allclose(small[0], 0.273, rtol=1e-6)
    np.testing.assert_allclose(large[0], 814.0, rtol=1e-6)


def test_mazzocco_resistance_spares_proliferating_tissue_with_time():
    model = Mazzocco()
    state = model.initial_state(jnp.asarray(33.0))
    kill, none = Forcing(jnp.asarray(0.2)), Forcing(jnp.zeros(()))

    def killed(day):
        rates = [model.vector_field(day, state, forcing) for forcing in (none, kill)]
        return rates[0].proliferating - rates[1].proliferating, rates[0].quiescent - rates[1].quiescent

    early, late = killed(0.0), killed(365.25)
    np.testing.assert_allclose(early[0], 0.2 * state.proliferating)
    np.testing.assert_allclose(late[0] / early[0], np.exp(-0.1 * 12))
    np.testing.assert_allclose(late[1], early[1])


@pytest.mark.parametrize("model", [model for model, _ in MODELS], ids=lambda model: type(model).__name__)
def test_resections_need_space(model):
    with pytest.raises(InputError, match="needs a model with space"):
        model.transport(jnp.ones(3))
