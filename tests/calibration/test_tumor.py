"""`Tumor`: parameters find their leaves, and a box keeps what it holds."""

import jax.numpy as jnp
import numpy as np
import pytest

from twinjax.calibration import Prior, Tumor
from twinjax.calibration.tumor import edge_density
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.model import DensityField, FisherKPP
from twinjax.observation import SegmentationObservation
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

SHAPE = (8, 9)
DENSITY = np.random.default_rng(0).uniform(size=SHAPE)


def tumor() -> Tumor:
    domain = Domain(np.ones(SHAPE), (1.0, 2.0), white_matter=DENSITY)
    regimen = Regimen(
        (
            Chemotherapy([1.0], [75.0]),
            Radiotherapy([2.0], [2.0]),
            Chemotherapy([30.0, 31.0], [150.0, 150.0]),
            Chemotherapy([3.0], [90.0], drug="lomustine"),
        )
    )
    observation = {"core": SegmentationObservation(domain, 0.6)}
    return Tumor(FisherKPP(domain), regimen, DensityField(jnp.asarray(DENSITY)), observation)


def prior(*where: str) -> Prior:
    return Prior({"x": {"distribution": ("normal", 0.0, 1.0), "where": where}})


def test_every_treatment_of_a_name_is_set():
    before = tumor()
    after = before.with_parameters(prior("regimen.temozolomide.sensitivity"), jnp.array([0.7]))
    assert [float(t.sensitivity) for t in after.regimen.continuous] == pytest.approx([0.7, 0.7, 0.2])
    assert float(after.regimen.impulsive[0].alpha) == float(before.regimen.impulsive[0].alpha)
    assert [float(leaf) for leaf in before.leaves_at("regimen.temozolomide.sensitivity")] == pytest.approx([0.2, 0.2])


def test_one_parameter_may_set_leaves_in_several_places():
    after = tumor().with_parameters(prior("model.diffusivity", "observation.core.threshold"), jnp.array([0.25]))
    assert float(after.model.diffusivity) == 0.25
    assert float(after.observation["core"].threshold) == 0.25


@pytest.mark.parametrize(
    "path", ["model.speed", "tumour.diffusivity", "regimen.radiotherapy.beta", "observation.core.x", "regimen.alpha"]
)
def test_a_path_that_leads_nowhere_is_refused(path):
    with pytest.raises(InputError, match=f"'{path}' leads nowhere: there is no '{path.split('.')[-1]}'|no 'tumour'"):
        tumor().leaves_at(path)


@pytest.mark.parametrize("path", ["regimen.carboplatin.sensitivity", "observation.pet.scale"])
def test_what_a_patient_does_not_have_has_no_leaves(path):
    before = tumor()
    assert before.leaves_at(path) == []
    assert before.with_parameters(prior(path), jnp.array([9.0])) is before


def test_a_box_keeps_values_and_positions():
    whole, box = tumor(), ((2, 0), (7, 5))
    small = whole.cropped(box)
    assert small.model.domain.shape == (5, 5)
    assert small.model.domain.spacing == (1.0, 2.0)
    np.testing.assert_array_equal(small.initial.density, DENSITY[2:7, :5])
    np.testing.assert_array_equal(small.state0(), np.asarray(whole.state0())[2:7, :5])
    np.testing.assert_array_equal(small.model.domain.white_matter, whole.model.domain.white_matter[2:7, :5])
    assert float(small.model.diffusivity) == float(whole.model.diffusivity)
    np.testing.assert_array_equal(small.regimen.continuous[1].doses, [150.0, 150.0])


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (((0, 0), SHAPE), 0.0),
        (((1, 0), SHAPE), DENSITY[1, :].max()),
        (((0, 2), SHAPE), DENSITY[:, 2].max()),
        (((0, 0), (6, 9)), DENSITY[5, :].max()),
        (((0, 0), (8, 4)), DENSITY[:, 3].max()),
        (((1, 2), (6, 4)), max(DENSITY[[1, 5], 2:4].max(), DENSITY[1:6, [2, 3]].max())),
    ],
    ids=str,
)
def test_only_faces_that_cut_count_as_edge(box, expected):
    cut = DENSITY[tuple(slice(a, b) for a, b in zip(*box, strict=True))]
    # Two days, as a trajectory has them: the later one is denser.
    density = jnp.stack([jnp.asarray(cut) / 2, jnp.asarray(cut)])
    assert float(edge_density(density, box, SHAPE)) == pytest.approx(expected)
