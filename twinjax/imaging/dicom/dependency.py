"""The packages that only DICOM needs, imported where they are used."""

import importlib
from typing import Any

from twinjax.core.errors import MissingDependencyError


def require(name: str) -> Any:
    """The module `name`; `MissingDependencyError` with the extra that brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise MissingDependencyError(f"DICOM needs {package}: pip install 'twinjax[dicom,imaging]'") from error
