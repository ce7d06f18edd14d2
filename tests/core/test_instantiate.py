"""Configs by name, and what a hostile config may not do."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from twinjax.core import config
from twinjax.core.config import choices, conf_dir, instantiate, load_named, locate
from twinjax.core.errors import InputError, MissingDependencyError
from twinjax.domain import Domain

DOMAIN = "twinjax.domain.Domain"


def domain_node(**changes):
    return {"_target_": DOMAIN, "mask": [[1, 1], [0, 1]], "spacing": [1.0, 2.0]} | changes


def test_builds_an_object():
    domain = instantiate(domain_node())
    assert isinstance(domain, Domain)
    assert domain.spacing == (1.0, 2.0)
    assert int(domain.mask.sum()) == 3


def test_builds_nested_nodes_and_keeps_plain_values():
    built = instantiate({"grids": [domain_node(), {"name": "plain", "days": (1, 2)}], "seed": 3, "none": None})
    assert isinstance(built["grids"][0], Domain)
    assert built["grids"][1] == {"name": "plain", "days": [1, 2]}
    assert (built["seed"], built["none"]) == (3, None)


def test_resolves_interpolations():
    node = OmegaConf.create({"edge": 2.0, "grid": domain_node(spacing=["${edge}", "${edge}"])})
    assert instantiate(node)["grid"].spacing == (2.0, 2.0)


@pytest.mark.parametrize(
    ("value", "message"),
    [("???", "model.grid"), ("${nowhere}", "nowhere"), ("${unknown_resolver:1}", "unknown_resolver")],
)
def test_unfilled_value_is_named(value, message):
    with pytest.raises(InputError, match=message) as caught:
        instantiate(OmegaConf.create({"model": {"grid": value}}))
    assert "\n" not in str(caught.value)


def test_a_missing_value_of_a_whole_configuration_is_named_once():
    whole = OmegaConf.create({"model": {"growth": {"_target_": "twinjax.model.NeuralGrowth", "base": "???"}}})
    with pytest.raises(InputError, match=r"^model\.growth\.base: "):
        instantiate(whole.model.growth, where="model.growth")


def test_unknown_key_names_the_place():
    with pytest.raises(InputError, match=r"experiment\.grid: .*colour"):
        instantiate({"grid": domain_node(colour="red")}, where="experiment")


def test_the_message_of_bad_input_passes_through():
    with pytest.raises(InputError, match="spacing must be positive"):
        instantiate(domain_node(spacing=[1.0, -1.0]))


HOSTILE = [
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "numpy.load",
    "torch.load",
    "pickle.loads",
    "monai.bundle.run",
    "twinjax",
    "twinjaxevil.run",
    # what allowed modules import is not theirs
    "twinjax.core.config.importlib.import_module",
    "twinjax.core.config.Path",
    "twinjax.domain.domain.np.load",
    "twinjax.domain.domain.jnp.load",
    "diffrax.jax.numpy.load",
    # private and dunder names
    "twinjax.core.config._plain",
    "twinjax.domain.Domain.__init__.__globals__",
    # what runs or writes as it is told
    "monai.transforms.Lambda",
    "monai.transforms.LambdaD",
    "monai.transforms.RandLambdad",
    "monai.transforms.utility.array.Lambda",
    "monai.transforms.SaveImage",
    "monai.transforms.io.dictionary.SaveImaged",
    "monai.transforms.io.array.WriteFileMapping",
    "monai.transforms.io.array.locate",
    "monai.transforms.io.array.optional_import",
    "",
    "..",
    None,
    ["twinjax.domain.Domain"],
]


@pytest.mark.parametrize("target", HOSTILE)
def test_hostile_target_is_refused(target):
    with pytest.raises(InputError, match="is not allowed|does not exist"):
        instantiate({"_target_": target})


@pytest.mark.parametrize("key", ["reader", "writer"])
@pytest.mark.parametrize("transform", ["LoadImage", "LoadImaged"])
def test_monai_loaders_take_no_dotted_path(key, transform, tmp_path):
    pytest.importorskip("monai")
    proof = tmp_path / "proof"
    node = {"_target_": f"monai.transforms.{transform}", key: "os.mkdir", "path": str(proof)}
    with pytest.raises(InputError, match=f"'{key}'"):
        instantiate(node | ({"keys": ["image"]} if transform.endswith("d") else {}))
    assert not proof.exists()


def test_monai_transform_is_built():
    pytest.importorskip("monai")
    built = instantiate({"_target_": "monai.transforms.ScaleIntensity", "minv": 0.0, "maxv": 1.0})
    assert float(np.max(built(np.asarray([[1.0, 3.0]])))) == 1.0


@pytest.mark.parametrize("target", ["twinjax.domain.Nothing", "twinjax.nowhere.Domain", "twinjax.domain.domain.HALF"])
def test_missing_target_is_named(target):
    with pytest.raises(InputError, match=f"{target}' does not exist"):
        locate(target)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(config, "ALLOWED", ("notinstalledpackage.",))
    with pytest.raises(MissingDependencyError, match="notinstalledpackage.*twinjax\\[imaging\\]"):
        locate("notinstalledpackage.transforms.Thing")


@pytest.fixture
def own_conf(tmp_path, monkeypatch):
    """A conf folder with one group, `grid`, in place of the package's own."""
    (tmp_path / "conf" / "grid").mkdir(parents=True)
    (tmp_path / "conf" / "config.yaml").write_text("{}\n")
    (tmp_path / "conf" / "grid" / "plate.yaml").write_text(OmegaConf.to_yaml(domain_node()))
    (tmp_path / "conf" / "grid" / "open.yaml").write_text(OmegaConf.to_yaml(domain_node(mask="???")))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "plate.yaml").write_text(OmegaConf.to_yaml(domain_node()))
    monkeypatch.setattr(config, "conf_dir", lambda: tmp_path / "conf")


def test_named_config(own_conf):
    assert choices("grid") == ["open", "plate"]
    assert load_named("grid", "plate").spacing == (1.0, 2.0)


def test_named_config_with_overrides(own_conf):
    mask = np.ones((2, 3))
    assert load_named("grid", "open", mask=mask, spacing=(3, 3)).shape == (2, 3)
    with pytest.raises(InputError, match="grid/open.*mask"):
        load_named("grid", "open")


@pytest.mark.parametrize("name", ["sphere", "../grid/plate", "plate.yaml", ""])
def test_unknown_name_lists_the_choices(own_conf, name):
    with pytest.raises(InputError, match="choose one of open, plate"):
        load_named("grid", name)


@pytest.mark.parametrize("group", ["model", "../outside", "", "."])
def test_unknown_group_lists_the_choices(own_conf, group):
    with pytest.raises(InputError, match="choose one of grid"):
        choices(group)


def test_the_package_finds_its_own_conf():
    assert (conf_dir() / "config.yaml").is_file()
    assert "stupp" in choices("treatment")
