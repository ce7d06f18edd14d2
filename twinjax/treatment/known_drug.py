"""Chemotherapy by the name of the drug alone: its values are those of the protocols in `conf/treatment`."""

import functools

import equinox as eqx
import numpy as np

from twinjax.core.config import choices, load_named
from twinjax.core.errors import InputError
from twinjax.treatment.chemotherapy import Chemotherapy


@functools.cache
def known_drugs() -> dict[str, list[Chemotherapy]]:
    """Drug to the courses of it in the protocols of `conf/treatment`, which say where their values come from."""
    found: dict[str, list[Chemotherapy]] = {}
    for protocol in choices("treatment"):
        for treatment in load_named("treatment", protocol).treatments:
            if isinstance(treatment, Chemotherapy):
                found.setdefault(treatment.drug, []).append(treatment)
    return dict(sorted(found.items()))


def known_drug(name: str) -> str:
    """The name as `known_drugs` has it, whatever its case, hyphens and spaces; `InputError` for one not there."""
    drug = "_".join(name.lower().replace("-", " ").split())
    if drug not in known_drugs():
        raise InputError(
            f"the drug '{name}' is unknown; known are {', '.join(known_drugs())}. Without a protocol in conf/treatment "
            "nothing is known of what it kills: leave it out, or give a Chemotherapy with values of your own in Python"
        )
    return drug


def known_chemotherapy(drug: str, times, doses) -> Chemotherapy:
    """Doses (mg/m²) of a known drug, with sensitivity, clearance rate and reference dose of its protocols.

    Where protocols differ, those of the reference dose nearest to the median dose, by the ratio: so that a dose kills
    what it does in the protocol, and the `sensitivity` of a prior means the same in both. The clearance is that of the
    kill, which may outlast the drug in plasma (`conf/pharmacokinetics`) by far.
    """
    own = Chemotherapy(times, doses, drug=drug)
    median = max(float(np.median(own.doses)), 1e-9)
    like = min(known_drugs()[drug], key=lambda one: abs(np.log(median / float(one.reference_dose))))
    return eqx.tree_at(lambda one: (one.times, one.doses), like, (own.times, own.doses))
