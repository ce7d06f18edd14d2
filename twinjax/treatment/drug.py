"""What all drugs have in common, however they act."""

from typing import ClassVar

import equinox as eqx

from twinjax.treatment.treatment import AbstractTreatment, later, of_doses, with_no_doses


class AbstractDrug(AbstractTreatment):
    """A drug that acts everywhere alike.

    **Fields:** `drug` (name). `per_dose` names the arrays with one entry a dose.
    """

    per_dose: ClassVar[tuple[str, ...]] = ("times", "doses")
    drug: eqx.AbstractVar[str]

    @property
    def name(self):
        return self.drug

    def on(self, domain):
        return self

    def select(self, keep):
        return of_doses(self, keep, *self.per_dose)

    def filled(self, count):
        return with_no_doses(self, count, "doses", *(name for name in self.per_dose if name != "doses"))

    def shifted(self, days):
        return later(self, days)
