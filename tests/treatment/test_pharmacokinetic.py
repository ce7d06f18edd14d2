"""Treatments by pharmacokinetics: kills of drugs, occupancy by antibodies."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import FisherKPP
from twinjax.pharmacokinetics import HillEffect, LinearPharmacokinetics
from twinjax.simulation import simulate
from twinjax.treatment import (
    CheckpointBlockade,
    Chemotherapy,
    PharmacokineticTherapy,
    Regimen,
    checkpoint_blockade_cycles,
    pharmacokinetic_cycles,
)

DRUG = PharmacokineticTherapy([1.0, 8.0], [900.0, 600.0], drug="cyclophosphamide", infusion_hours=1.0, effect=0.02)


def test_log_kill_is_slope_times_exposure():
    """Dose over clearance (5.41 L/h), of each dose."""
    kills = DRUG.kills(0.0, 100.0)
    np.testing.assert_allclose(kills.log_kill, 0.02 * np.array([900, 600]) / (24 * 5.41), rtol=1e-9)
    # Half an hour of infusion and the mean time in the body, V / CL.
    np.testing.assert_allclose(kills.elapsed, [1 + (0.5 + 46.5 / 5.41) / 24, 8 + (0.5 + 46.5 / 5.41) / 24], rtol=1e-9)
    assert DRUG.kill_rate(0.9) == 0
    slope = jax.grad(lambda t: DRUG.exposure(0.0, t))
    np.testing.assert_allclose([slope(t) for t in (1.02, 3.0, 8.5)], [DRUG.kill_rate(t) for t in (1.02, 3.0, 8.5)])


def test_one_compartment_bolus_is_the_k_pd_model():
    """K-PD's decay is that of one compartment: sensitivity = slope dose / V, clearance rate = CL / V."""
    rate = 24 * 5.41 / 46.5
    same = Chemotherapy([1.0, 3.0], 500.0, sensitivity=0.02 * 900 / 46.5, clearance_rate=rate, reference_dose=500.0)
    drug = PharmacokineticTherapy([1.0, 3.0], 900.0, drug="cyclophosphamide", effect=0.02)
    for start, stop in ((0.0, 2.0), (1.5, 3.5), (2.0, 40.0)):
        expected, found = same.kills(start, stop), drug.kills(start, stop)
        np.testing.assert_allclose(found.log_kill, expected.log_kill, rtol=1e-10, atol=1e-15)
        np.testing.assert_allclose(found.elapsed, expected.elapsed, rtol=1e-9)


@pytest.mark.slow
def test_splitting_and_tsit5_agree_on_what_survives():
    """Nothing grows or moves: the kills of the steps of either solver are the exposure."""
    effect = HillEffect(0.5, 4.0, 2.0)
    drug = PharmacokineticTherapy([1.0, 8.0], 900.0, drug="cyclophosphamide", infusion_hours=1.0, effect=effect)
    model = FisherKPP(Domain(np.ones(4), (1.0,)), diffusivity=0.0, proliferation_rate=0.0)
    controller = diffrax.PIDController(rtol=1e-9, atol=1e-12)
    for options in ({}, {"solver": diffrax.Tsit5(), "stepsize_controller": controller}):
        trajectory = simulate(model, Regimen([drug]), np.full(4, 0.6), [12.0], **options).require_success()
        np.testing.assert_allclose(-np.log(trajectory.states[0] / 0.6), drug.exposure(0.0, 12.0), rtol=1e-6)


@pytest.mark.thorough
def test_a_metabolite_kills_in_the_place_of_its_drug():
    drug = PharmacokineticTherapy([0.0], 324.0, drug="irinotecan", infusion_hours=1.5, metabolite="sn38", effect=3.0)
    # Of 324 mg a part 0.216 / 22.8 turns into SN-38, which leaves at 42.8 L/h.
    np.testing.assert_allclose(drug.exposure(0.0, 1e4), 3 * 324 * 0.216 / 22.8 / 42.8 / 24, rtol=1e-8)
    with pytest.raises(InputError, match="has no metabolite 'x'; known: sn38"):
        PharmacokineticTherapy([0.0], 324.0, drug="irinotecan", metabolite="x")


@pytest.mark.thorough
def test_a_saturable_drug_kills():
    drug = PharmacokineticTherapy([0.0, 7.0], 144.0, drug="paclitaxel", infusion_hours=1.0, effect=0.3)
    kills = drug.kills(0.0, 14.0)
    whole = float(0.3 * drug.pharmacokinetics.exposure(drug.dosing, 0.0, 14.0))
    np.testing.assert_allclose(kills.log_kill.sum(), whole, rtol=1e-6)
    np.testing.assert_allclose(kills.log_kill[1], kills.log_kill[0], rtol=1e-3)


def test_part_shift_and_burden():
    part = DRUG.select(np.array([False, True])).shifted(4.0)
    assert (part.times.tolist(), part.doses.tolist()) == ([12.0], [600.0])
    np.testing.assert_allclose(part.exposure(0.0, 20.0), DRUG.kills(0.0, 16.0).log_kill[1], rtol=1e-12)
    assert DRUG.burden() == {"doses": 2, "total_dose_mg": 1500.0}
    assert Regimen([DRUG]).before(5.0).treatments[0].times.size == 1
    assert Regimen([DRUG]).burden()[0]["treatment"] == "cyclophosphamide"


ANTIBODY = CheckpointBlockade([0.0, 28.0], 1500.0, drug="durvalumab", infusion_hours=1.0, half_concentration=20.0)


def test_occupancy_follows_the_concentration():
    concentration = float(ANTIBODY.concentration(10.0))
    np.testing.assert_allclose(ANTIBODY.level(10.0), concentration / (concentration + 20.0), rtol=1e-12)
    assert ANTIBODY.level(-1.0) == 0
    assert 0 < ANTIBODY.level(400.0) < 1e-4
    regimen = Regimen([ANTIBODY])
    assert list(regimen.levels(10.0)) == ["checkpoint_blockade"]
    np.testing.assert_allclose(regimen.levels(10.0)["checkpoint_blockade"], ANTIBODY.level(10.0))


@pytest.mark.parametrize(("start", "stop"), [(0.0, 1.0), (3.0, 40.0), (60.0, 61.0)])
def test_mean_occupancy(start, stop):
    points = [28.0, 28.0 + 1 / 24] if start < 28 < stop else [1 / 24] if start == 0 else None
    level = jax.jit(lambda t: ANTIBODY.level(t))
    expected = quad(lambda t: float(level(t)), start, stop, points=points, limit=200, epsrel=1e-9)[0] / (stop - start)
    np.testing.assert_allclose(ANTIBODY.mean_level(start, stop), expected, rtol=1e-6)


@pytest.mark.thorough
def test_mean_occupancy_of_an_instant_and_its_derivative():
    np.testing.assert_allclose(ANTIBODY.mean_level(9.0, 9.0), ANTIBODY.level(9.0), rtol=1e-12)
    assert np.isfinite(jax.grad(lambda t: ANTIBODY.mean_level(9.0, t))(9.0))


def test_part_and_shift_of_an_antibody():
    part = ANTIBODY.select(np.array([True, False])).shifted(2.0)
    np.testing.assert_allclose(part.level(12.0), ANTIBODY.level(10.0), rtol=1e-12)
    assert (part.action, part.name, part.burden()) == (
        "checkpoint_blockade",
        "durvalumab",
        {"doses": 1, "total_dose_mg": 1500.0},
    )


def test_cycles():
    (drug,) = pharmacokinetic_cycles(
        2.0, 2, 14, [1], [400.0], drug="fluorouracil", infusion_hours=46, body_surface_area_m2=2.0
    ).treatments
    assert isinstance(drug, PharmacokineticTherapy)
    assert (drug.times.tolist(), drug.doses.tolist()) == ([2.0, 16.0], [800.0, 800.0])
    np.testing.assert_allclose(drug.durations, 46 / 24)
    (antibody,) = checkpoint_blockade_cycles(0.0, 3, 21, 200.0, drug="pembrolizumab").treatments
    assert isinstance(antibody, CheckpointBlockade)
    assert (antibody.times.tolist(), antibody.doses.tolist()) == ([0.0, 21.0, 42.0], [200.0] * 3)
    with pytest.raises(InputError, match="checkpoint blockade: cycles must be at least 1"):
        checkpoint_blockade_cycles(0.0, 0, 21, 200.0, drug="pembrolizumab")


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="pharmacokinetics 'aspirin' is unknown; choose one of"):
        PharmacokineticTherapy([0.0], 100.0, drug="aspirin")
    with pytest.raises(InputError, match="pharmacokinetic therapy .cisplatin.: every dose"):
        PharmacokineticTherapy([0.0], -1.0, drug="cisplatin")
    with pytest.raises(InputError, match="metabolites are there for linear models only"):
        PharmacokineticTherapy([0.0], 100.0, drug="paclitaxel", metabolite="x")
    assert isinstance(DRUG.pharmacokinetics, LinearPharmacokinetics)
    assert jnp.isfinite(DRUG.kill_rate(1e6))
