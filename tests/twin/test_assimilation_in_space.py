"""A twin on a grid assimilates a later visit: its posterior is that of all visits at once, and so is its forecast."""

import jax
import numpy as np
import pytest

from twinjax.calibration import ImportanceSampler, Prior, longitudinal_problem
from twinjax.core.config import load_named
from twinjax.model import LungTumor
from twinjax.patient import VirtualOrgan
from twinjax.patient.phantom import lung
from twinjax.solver import StrangSplitting
from twinjax.twin import DigitalTwin, Forecast

CENTER = (50.0, 5.0, 10.0)
KEPT = ("diffusivity", "proliferation_rate", "core_threshold", "edge_threshold")
CALIBRATOR = ImportanceSampler(proposals=1000, draws=1500, progress=False)
VOLUME = "whole_tumor_volume_mm3"


# A tumour of 20 mm in the lung, without treatment: a small form of conf/patient/virtual_lung.yaml.
ORGAN = VirtualOrgan(
    "virtual_small",
    LungTumor(
        lung(resolution_mm=3.0, field_of_view_mm=48.0, center_mm=CENTER), diffusivity=0.03, proliferation_rate=0.02
    ),
    list(CENTER),
    10.0,
    [0, 20, 40, 60],
    levels={"core": 0.5, "whole_tumor": 0.25},
    scan_voxel_mm=(3.0, 3.0, 3.0),
)


@pytest.fixture(scope="module")
def problems():
    """Day to the problem of the visits up to it, on a grid of 4 mm."""
    patient = ORGAN.generate()
    whole = LungTumor(patient.brain_mask)
    model = whole.on(whole.domain.resampled(4.0))
    usual = load_named("prior", "lung")
    prior = Prior(
        {p.name: {"distribution": p.distribution, "where": p.where} for p in usual.parameters if p.name in KEPT}
    )
    return {
        day: longitudinal_problem(patient.until(day), model, prior, solver=StrangSplitting(), max_step=4.0)
        for day in (40, 60)
    }


def twin_of(posterior) -> DigitalTwin:
    return DigitalTwin(posterior.problem.whole.model, posterior.map_estimate, posterior.credible_interval(0.95))


@pytest.mark.slow
def test_a_later_visit_gives_the_posterior_of_all_visits(problems):
    """Within four standard errors of Monte Carlo, of the effective draws that either has."""
    before = CALIBRATOR.fit(problems[40], key=jax.random.key(0))
    found = twin_of(before).assimilate(problems[60], CALIBRATOR, key=jax.random.key(1), solves=1000)
    batch = CALIBRATOR.fit(problems[60], key=jax.random.key(2))
    after = found.twin.posterior
    assert after.names == batch.names == KEPT
    effective = min(min(p.diagnostics["ess"].values()) for p in (after, batch))
    error = 4 * np.sqrt(2 / effective)
    ours, theirs, old = (p.z.reshape(-1, len(KEPT)) for p in (after, batch, before))
    apart = np.abs(ours.mean(0) - theirs.mean(0)) / theirs.std(0)
    ratio = ours.std(0) / theirs.std(0)
    narrowed = theirs.std(0) / old.std(0)
    # Quoted in docs/assimilation.md.
    print({"record": after.diagnostics["assimilation"][-1], "apart": apart, "ratio": ratio, "narrowed": narrowed})
    print(*found.expected, sep="\n")
    assert after.diagnostics["assimilation"][-1]["by"] == "reweighting"
    assert (apart < error).all() and (np.abs(ratio - 1) < error).all()
    # The visit tells something: the bound is no excuse.
    assert narrowed.min() < 0.8
    # Volumes are compared as they were forecast without it.
    assert {one.quantity for one in found.expected} == {VOLUME, "core_volume_mm3"}
    assert all(one.day == 60.0 and one.lower < one.median < one.upper for one in found.expected)
    assert len(found.warnings) == sum(not one.inside for one in found.expected)
    medians = []
    for twin in (found.twin, twin_of(batch)):
        ahead = twin.predict(90.0, [75.0, 90.0], draws=100, fields=False)
        assert isinstance(ahead, Forecast)
        medians.append(ahead.interval(VOLUME)[1])
    np.testing.assert_allclose(*medians, rtol=0.05)
