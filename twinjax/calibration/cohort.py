"""The measurements of many patients, side by side."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from twinjax.core.errors import InputError
from twinjax.patient import ClinicalCourse
from twinjax.treatment import Regimen


class Cohort(eqx.Module):
    """The readings of one quantity in many patients, padded to the longest series.

    **Fields:** `days`, `values` (patients, readings), padded with the last one; `given` (patients, readings), False
    where padded; `regimen`, with an axis of patients in front of every array, or of no treatment.
    """

    days: Float[Array, "patients readings"]
    values: Float[Array, "patients readings"]
    given: Bool[Array, "patients readings"]
    regimen: Regimen

    @classmethod
    def from_courses(cls, courses: Sequence[ClinicalCourse], quantity: str) -> "Cohort":
        """`InputError` for a patient without that quantity, or for regimens that cannot be solved side by side."""
        if not courses:
            raise InputError("a cohort needs at least one patient")
        missing = [course.patient_id for course in courses if quantity not in course.measurements]
        if missing:
            raise InputError(f"patient {missing[0]} has no '{quantity}'; leave the patient out")
        limits = [course.patient_id for course in courses if course.sides[quantity].any()]
        if limits:
            raise InputError(
                f"patient {limits[0]} has values of '{quantity}' beyond what could be told (<, >), which a population "
                "does not take; leave them out"
            )
        series = [course.measurements[quantity] for course in courses]
        longest = max(days.size for days, _ in series)
        days, values = (
            np.stack([np.pad(one[part], (0, longest - one[part].size), mode="edge") for one in series])
            for part in (0, 1)
        )
        given = np.arange(longest) < np.array([[one[0].size] for one in series])
        return cls(jnp.asarray(days), jnp.asarray(values), jnp.asarray(given), _side_by_side(courses))

    @property
    def size(self) -> int:
        """How many patients."""
        return self.days.shape[0]

    @property
    def last(self) -> Array:
        """(patients,) index of each patient's last reading."""
        return jnp.sum(self.given, axis=1) - 1


def _side_by_side(courses: Sequence[ClinicalCourse]) -> Regimen:
    """The regimens as one, with an axis of patients in front of every array."""
    regimens = [eqx.partition(course.regimen, eqx.is_array) for course in courses]
    kinds = {
        (jax.tree.structure(arrays), str(static), tuple(leaf.shape for leaf in jax.tree.leaves(arrays)))
        for arrays, static in regimens
    }
    if len(kinds) > 1:
        raise InputError("the patients of a cohort must have the same kinds of treatment with equally many doses")
    return eqx.combine(jax.tree.map(lambda *leaves: jnp.stack(leaves), *(r[0] for r in regimens)), regimens[0][1])
