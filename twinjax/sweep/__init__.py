"""What twinjax adds to Hydra's sweeps: a sweeper and a launcher that drive the engines themselves."""

import sys
from types import ModuleType

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from twinjax.sweep.optuna_sweeper import OptunaSweeper as OptunaSweeper
from twinjax.sweep.ray_launcher import RayLauncher as RayLauncher


def offer() -> None:
    """Make them known to Hydra, which takes those alone that are found in the package `hydra_plugins`."""
    # Asked first: it looks for the plug-ins that are installed.
    plugins = Plugins.instance()
    package = sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    vars(package)["twinjax"] = sys.modules[__name__]
    for plugin in (OptunaSweeper, RayLauncher):
        plugins.register(plugin)
    # That of hydra-ray-launcher, where it is installed: Hydra would hold our file of that name to its keys.
    ConfigStore.instance().repo.get("hydra", {}).get("launcher", {}).pop("ray.yaml", None)
