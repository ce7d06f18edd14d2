"""Every file of `conf/` composes, and every `_target_` in it leads to an allowed class or function."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, ListConfig, OmegaConf

from twinjax.core.config import choices, conf_dir, instantiate, locate
from twinjax.job.patient import checked_parts
from twinjax.job.settings import check_prior

PRIMARY = sorted(path.stem for path in conf_dir().glob("*.yaml"))
# Hydra's own groups configure Hydra, which builds what they name itself.
CHOICES = sorted(
    path.relative_to(conf_dir()) for path in conf_dir().rglob("*/*.yaml") if conf_dir() / "hydra" not in path.parents
)


def default_groups() -> set[str]:
    """The groups that the defaults list of `config.yaml` names."""
    node = OmegaConf.load(conf_dir() / "config.yaml")
    assert isinstance(node, DictConfig)
    entries = [entry for entry in node.get("defaults", []) if isinstance(entry, DictConfig)]
    return {str(key).split("@")[0].removeprefix("override ").removeprefix("optional ") for e in entries for key in e}


def composed(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(name, list(overrides))


def targets(node: Any) -> Iterator[str]:
    """All `_target_` values, without resolving anything."""
    if isinstance(node, DictConfig | ListConfig):
        node = OmegaConf.to_container(node, resolve=False)
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


@pytest.mark.parametrize("name", PRIMARY)
def test_primary_config_composes(name):
    for target in targets(composed(name)):
        assert callable(locate(target, name))


@pytest.mark.parametrize("path", CHOICES, ids=lambda path: str(path.with_suffix("")))
def test_choice_composes(path: Path):
    group = path.parent.as_posix()
    prefix = "" if group in default_groups() else "+"
    found = list(targets(composed("config", f"{prefix}{group}={path.stem}")))
    own = list(targets(OmegaConf.load(conf_dir() / path)))
    # An experiment puts its nodes elsewhere: what the file itself says must have arrived.
    assert set(own) <= set(found)
    for target in found:
        assert callable(locate(target, str(path)))


@pytest.mark.parametrize("name", choices("experiment"))
def test_experiment_is_a_run_of_the_main_job_and_says_where_its_answer_is(name, monkeypatch):
    monkeypatch.setenv("TWINJAX_DATA", "data")
    config = composed("config", f"experiment={name}")
    _, model, parts = checked_parts(config)
    check_prior(model, parts["prior"])
    if "recommendation" in config:
        instantiate(config.recommendation)
    text = (conf_dir() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    comment = text.partition("defaults:")[0]
    assert "?" in comment and (places := re.findall(r"[-\w/]+\.md|experiments/\w+", comment))
    assert [place for place in places if not (conf_dir().parent / place).exists()] == []


def test_choices_are_those_of_the_folders():
    groups = {path.parent.as_posix() for path in CHOICES}
    assert groups
    for group in groups:
        assert choices(group) == sorted(path.stem for path in CHOICES if path.parent.as_posix() == group)
