"""Priors: medians, exact whitening, and specifications that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from twinjax.calibration import Prior, Tumor
from twinjax.core.config import choices, conf_dir, load_named
from twinjax.core.errors import InputError
from twinjax.domain import Domain
from twinjax.job import model_of
from twinjax.model import AbstractSpatialModel, ContourProfile, InitialSize, PointSeed
from twinjax.observation import CellDensityObservation, PETObservation, SegmentationObservation
from twinjax.treatment import Chemotherapy, Radiotherapy, Regimen

REFERENCES = {
    ("lognormal", 0.1, 0.5): stats.lognorm(0.5, scale=0.1),
    ("normal", -2.0, 3.0): stats.norm(-2, 3),
    ("uniform", -1.0, 4.0): stats.uniform(-1, 5),
    ("truncated_normal", 0.6, 0.2, 0.35, 0.9): stats.truncnorm((0.35 - 0.6) / 0.2, (0.9 - 0.6) / 0.2, 0.6, 0.2),
}


def one(specification) -> Prior:
    return Prior({"diffusivity": {"distribution": specification, "where": ["model.diffusivity"], "unit": "mm²/day"}})


@pytest.mark.parametrize("specification", REFERENCES, ids=lambda s: s[0])
@given(z=st.floats(-4, 4))
def test_the_quantile_of_a_value_is_that_of_z(specification, z):
    value = float(one(specification).values(jnp.array([z]))["diffusivity"])
    np.testing.assert_allclose(value, REFERENCES[specification].ppf(stats.norm.cdf(z)), rtol=1e-8, atol=1e-12)


def test_a_lognormal_is_given_by_its_median():
    assert float(one(("lognormal", 0.1, 0.5)).values(jnp.zeros(1))["diffusivity"]) == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize("specification", REFERENCES, ids=lambda s: s[0])
@pytest.mark.parametrize("z", [-40.0, 40.0])
def test_far_tails_stay_finite_and_inside_the_support(specification, z):
    prior = one(specification)
    value, slope = jax.value_and_grad(lambda z: prior.values(z[None])["diffusivity"])(jnp.asarray(z))
    low, high = REFERENCES[specification].support()
    assert low <= float(value) <= high
    assert jnp.isfinite(value)
    assert jnp.isfinite(slope)


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        (("cauchy", 0.0, 1.0), "cauchy.*choose one of lognormal"),
        (("lognormal", 0.1), "median, sigma"),
        (("uniform", 0.0, 1.0, 2.0), "low, high"),
        (("lognormal", 0.1, -0.5), "sigma must be positive"),
        (("lognormal", -0.1, 0.5), "median must be positive"),
        (("normal", 0.0, 0.0), "sd must be positive"),
        (("uniform", 2.0, 2.0), "low 2.0 is not below high 2.0"),
        (("truncated_normal", 0.5, 0.1, 0.9, 0.1), "low 0.9"),
        (("normal", float("nan"), 1.0), "mean, sd"),
        (("normal", 0.0, float("inf")), "mean, sd"),
        (("normal", "a", 1.0), "mean, sd"),
        ((), "give a family"),
        pytest.param(dist.Gamma(2.0, 1.0), "Gamma has no inverse", id="no-inverse"),
        pytest.param(dist.Normal(jnp.zeros(2), 1.0), "one number", id="two-numbers"),
    ],
    ids=str,
)
def test_a_bad_specification_names_the_parameter(specification, message):
    with pytest.raises(InputError, match=f"prior of diffusivity: .*{message}"):
        one(specification)


def test_entries_are_checked():
    with pytest.raises(InputError, match="at least one parameter"):
        Prior({})
    with pytest.raises(InputError, match="prior of rate: keys must be"):
        Prior({"rate": {"distribution": ("normal", 0.0, 1.0)}})
    with pytest.raises(InputError, match="prior of rate: keys must be"):
        Prior({"rate": {"distribution": ("normal", 0.0, 1.0), "where": "model.x", "median": 2}})


def test_replacing_changes_the_distribution_alone():
    prior = one(("lognormal", 0.1, 0.5)).replaced({"diffusivity": dist.Uniform(2.0, 4.0)})
    assert prior.parameters[0].where == ("model.diffusivity",)
    assert prior.parameters[0].unit == "mm²/day"
    assert float(prior.values(jnp.zeros(1))["diffusivity"]) == pytest.approx(3.0)
    with pytest.raises(InputError, match=r"no parameter \['speed'\].*diffusivity"):
        prior.replaced({"speed": ("normal", 0.0, 1.0)})


@pytest.fixture(scope="module")
def known_treatments():
    """The names of all treatments of conf/treatment."""
    return {part.name for option in choices("treatment") for part in load_named("treatment", option).treatments}


@pytest.mark.parametrize("name", choices("prior"))
def test_every_shipped_prior_fits_the_model_of_its_name(name, known_treatments):
    """Every path leads to one leaf, which takes the value; treatments are those of conf/treatment."""
    tissue = {part: np.full((6, 6, 6), 0.5) for part in ("adipose", "fibroglandular")}
    domain = Domain(np.ones((6, 6, 6)), (2.0, 2.0, 2.0), maps=tissue, affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        model = model_of(compose("config", [f"model={name}"]), domain)
    prior = load_named("prior", name)
    given = {path.split(".")[1] for p in prior.parameters for path in p.where if path.startswith("regimen.")}
    assert given <= known_treatments
    drugs = [Chemotherapy([1.0], [75.0], drug=drug) for drug in given - {"radiotherapy"}]
    regimen = Regimen([*drugs, Radiotherapy([1.0], [2.0])] if "radiotherapy" in given else drugs)
    initial, observation = InitialSize(1.0), {}
    if isinstance(model, AbstractSpatialModel):
        mask = np.zeros(model.domain.shape)
        mask[2, 2, 2] = 1
        profile = ContourProfile.from_masks(mask, mask, model.domain.spacing)
        initial = PointSeed([2.0, 2.0, 2.0]) if name.endswith("single_scan") else profile
        observation = {
            "core": SegmentationObservation(model.domain, 0.6),
            "whole_tumor": SegmentationObservation(model.domain, 0.3),
            "cell_density": CellDensityObservation(),
            "pet": PETObservation(),
        }
    tumor = Tumor(model, regimen, initial, observation)
    z = jnp.full(len(prior.names), 0.5)
    moved, values = tumor.with_parameters(prior, z), prior.values(z)
    for parameter in prior.parameters:
        for path in parameter.where:
            assert len(tumor.leaves_at(path)) == 1, path
            assert float(moved.leaves_at(path)[0]) == pytest.approx(float(values[parameter.name]))
