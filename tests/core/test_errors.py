"""What the errors promise to callers that catch by built-in type."""

import pytest

from twinjax.core.errors import InputError, MissingDependencyError, SolverError, TwinjaxError


@pytest.mark.parametrize(
    ("error", "builtin"), [(InputError, ValueError), (MissingDependencyError, ImportError), (SolverError, RuntimeError)]
)
def test_is_caught_by_our_base_and_by_the_built_in(error, builtin):
    for kind in (TwinjaxError, builtin):
        with pytest.raises(kind, match="message"):
            raise error("message")
