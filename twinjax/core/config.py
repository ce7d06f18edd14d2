"""Configs by name: find `conf/`, and build the objects it describes from an allow-list.

Hydra composes (in `twinjax/app.py`); this module instantiates. A config may come from anybody, so `_target_`
is resolved only inside `ALLOWED`, and nothing is ever evaluated.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twinjax.core.errors import InputError, MissingDependencyError

# Classes and functions of these packages may be named by `_target_`. They must take no code and open no file
# by pickle: numpy, torch, builtins and the like stay out.
ALLOWED = ("twinjax.", "monai.transforms.", "diffrax.")
# Transforms with one of these in their name run the function, or write the file, that they are given.
REFUSED = ("Lambda", "SaveImage", "WriteFileMapping")
# Monai's loaders import and call whatever dotted path stands in these keys.
REFUSED_KEYS = ("reader", "writer")


def conf_dir() -> Path:
    """The folder with the config groups: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise InputError("the conf/ folder of twinjax was not found; reinstall the package")


def choices(group: str) -> list[str]:
    """The names of a config group. Raises `InputError` for a group that `conf/` does not have."""
    folder = (conf_dir() / group).resolve()
    if conf_dir() not in folder.parents or not folder.is_dir():
        known = ", ".join(sorted(path.name for path in conf_dir().iterdir() if path.is_dir()))
        raise InputError(f"config group '{group}' is unknown; choose one of {known}")
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_named(group: str, name: str, **overrides: Any) -> Any:
    """Instantiate `conf/<group>/<name>.yaml`; keyword arguments (objects too) replace its keys.

    Raises `InputError` with the list of choices for an unknown name.
    """
    known = choices(group)
    if name not in known:
        raise InputError(f"{group} '{name}' is unknown; choose one of {', '.join(known)}")
    where = f"{group}/{name}"
    node = OmegaConf.load(conf_dir() / group / f"{name}.yaml")
    # A file of package _global_ holds its group's node under the group's name, beside overrides of other groups.
    assert isinstance(node, DictConfig)
    node = node[group] if group in node and "_target_" not in node else node
    for key in overrides:
        node.pop(key, None)
    return instantiate({**_plain(node, where), **overrides}, where=where)


def instantiate(node: Any, *, where: str = "config") -> Any:
    """Build what a config node describes: mappings with `_target_` become objects, `_partial_` is not offered.

    Lists become lists, mappings without `_target_` dictionaries. Raises `InputError` for a target outside
    the allow-list, one that does not exist, or arguments that it does not take.
    """
    if isinstance(node, DictConfig | ListConfig):
        node = _plain(node, where)
    if isinstance(node, Mapping):
        values = {key: instantiate(value, where=f"{where}.{key}") for key, value in node.items() if key != "_target_"}
        if "_target_" not in node:
            return values
        target = locate(node["_target_"], where)
        if target.__module__.startswith("monai.") and (keys := [key for key in REFUSED_KEYS if key in values]):
            raise InputError(f"{where}: the key '{keys[0]}' of {node['_target_']} is not allowed; remove it")
        try:
            return target(**values)
        except TypeError as error:
            raise InputError(f"{where}: {node['_target_']} does not take these keys: {error}") from error
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [instantiate(value, where=f"{where}[{i}]") for i, value in enumerate(node)]
    return node


def locate(target: Any, where: str = "config") -> Any:
    """The class or function behind `target`, a dotted path of the allow-list.

    Raises `InputError` for a path outside it or one that leads nowhere, `MissingDependencyError` for a package
    that is not installed.
    """
    parts = str(target).split(".")
    refused = not str(target).startswith(ALLOWED) or any(word in parts[-1] for word in REFUSED)
    if refused or any(part.startswith("_") for part in parts):
        raise InputError(f"{where}: _target_ '{target}' is not allowed; allowed are names inside {', '.join(ALLOWED)}")
    for split in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:split])
        try:
            found = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            # Of the path itself only the first part must be there: the last may be a class inside a module.
            if error.name == parts[0] or not f"{module_name}.".startswith(f"{error.name}."):
                raise MissingDependencyError(
                    f"{where}: {target} needs the package '{error.name}', which is not installed; "
                    "pip install 'twinjax[imaging]' brings the optional ones"
                ) from error
            continue
        for part in parts[split:]:
            found = getattr(found, part, None)
        # Modules also hold what they import: only what an allowed package defines itself may be called.
        if callable(found) and str(getattr(found, "__module__", None)).startswith(ALLOWED):
            return found
        break
    raise InputError(f"{where}: _target_ '{target}' does not exist")


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """The values of a plain configuration by dotted key: `{"a": {"b": [1]}}` gives `{"a.b.0": 1}`."""
    if isinstance(node, Mapping) and node:
        items = node.items()
    elif isinstance(node, list) and node:
        items = enumerate(node)
    else:
        return {prefix: node}
    found = [flat(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in items]
    return {key: value for part in found for key, value in part.items()}


def _plain(node: DictConfig | ListConfig, where: str) -> Any:
    """Dictionaries and lists, with interpolations resolved and no `???` left."""
    try:
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        # A part of a whole configuration knows its place in it.
        key = error.full_key or ""
        place = key if key.startswith(f"{where}.") else f"{where}.{key}"
        raise InputError(f"{place}: {str(error).splitlines()[0]}") from error
