"""The errors that twinjax raises on purpose.

Everything a user can mend is an `InputError`: one line that names the file or the key
and says what to do. The command line prints it without a traceback and exits with 2.
"""


class TwinjaxError(Exception):
    """Base of all errors raised on purpose."""


class InputError(TwinjaxError, ValueError):
    """Bad input, found at the door: the message names the file or key and the fix."""


class MissingDependencyError(TwinjaxError, ImportError):
    """An optional package or a weights file is not installed: the message says how to get it."""


class IncompleteCohort(TwinjaxError):
    """Patients of a cohort have no results; those of the others are there."""


class SolverError(TwinjaxError, RuntimeError):
    """A forward solve failed (step limit, non-finite state) where a result was required."""
