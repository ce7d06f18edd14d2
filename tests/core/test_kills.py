"""Kills: which are a drug's, and what a step that takes them together sees."""

import jax
import jax.numpy as jnp
import numpy as np

from twinjax.core.kills import Kills
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen


def test_a_regimen_says_which_kills_are_a_drugs():
    drug = Chemotherapy([1.0, 3.0], 75.0, sensitivity=0.5, clearance_rate=50.0)
    regimen = Regimen([Radiotherapy([2.0], 2.0, alpha=0.3), drug])
    kills = regimen.kills(0.0, 4.0)
    # In the order of the doses.
    np.testing.assert_array_equal(kills.by_drug, [True, False, True])
    np.testing.assert_array_equal((kills + Kills.none()).later(1.0).by_drug, [True, False, True])
    drugs, fractions, instant = kills.together(4.0)
    np.testing.assert_allclose(drugs, regimen.exposure(0.0, 4.0))
    np.testing.assert_allclose(fractions, 0.3 * 2 * 1.2)
    np.testing.assert_allclose(drugs + fractions, jnp.sum(kills.log_kill))
    np.testing.assert_allclose(instant, jnp.sum(kills.log_kill * kills.elapsed) / jnp.sum(kills.log_kill))


def test_where_nothing_is_killed_the_instant_is_the_middle_with_finite_gradients():
    def instant(log_kill):
        return Kills(log_kill, jnp.array([1.0, 2.0])).together(7.0)[2]

    np.testing.assert_allclose(instant(jnp.zeros(2)), 3.5)
    assert bool(jnp.isfinite(jax.grad(instant)(jnp.zeros(2))).all())
    np.testing.assert_allclose(Kills.none().together(7.0)[2], 3.5)
