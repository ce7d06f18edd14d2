"""Models without space whose untreated course is known in closed form."""

import abc

from jaxtyping import Array

from twinjax.model.model import AbstractLumpedModel


class AbstractClosedFormModel(AbstractLumpedModel):
    """A model that needs no solver as long as nothing is given: for cohorts, and for checking the solvers."""

    @abc.abstractmethod
    def untreated(self, state, elapsed: Array):
        """The state `elapsed` days after `state`, without treatment: exact."""
