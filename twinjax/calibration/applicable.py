"""Which parameters of a prior a patient can tell something of."""

import logging

from twinjax.calibration.prior import Prior
from twinjax.treatment import Regimen

# Of the places that a parameter may live in, those that a patient may lack.
PLACED = ("regimen", "observation")

log = logging.getLogger("twinjax")


def applicable(prior: Prior, regimen: Regimen, observations) -> tuple[Prior, Prior]:
    """The prior of what this patient can tell, and that of forecasts.

    The first leaves out the parameters of treatments and observations that are not there. The second has them in the
    same order, in all treatments that share them, and after them those of the treatments that are not there yet.
    """
    there = {("regimen", treatment.name) for treatment in regimen.treatments}
    there |= {("observation", name) for name in observations}
    known, later, unseen, dropped = {}, {}, {}, []
    for parameter in prior.parameters:
        rest = parameter.entry
        paths = [path for path in parameter.where if _kind(path) != "observation" or _place(path) in there]
        now = [path for path in paths if _kind(path) not in PLACED or _place(path) in there]
        if now:
            known[parameter.name], later[parameter.name] = rest | {"where": now}, rest | {"where": paths}
        else:
            dropped.append(parameter.name)
        if paths and not now:
            unseen[parameter.name] = rest | {"where": paths}
    if dropped:
        log.info("  left out, for want of that treatment or measurement: %s", ", ".join(dropped))
    return Prior(known), Prior(later | unseen)


def _kind(path: str) -> str:
    return path.partition(".")[0]


def _place(path: str) -> tuple[str, str]:
    """`("regimen", "temozolomide")` of `regimen.temozolomide.sensitivity`."""
    kind, name, *_ = path.split(".")
    return kind, name
