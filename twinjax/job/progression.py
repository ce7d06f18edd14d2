"""When what was forecast progresses."""

from collections.abc import Sequence

import numpy as np

from twinjax.job.settings import JobSettings
from twinjax.treatment import Regimen
from twinjax.twin import CourseForecast, Forecast
from twinjax.twin.criteria import RANO_VOLUME, criterion_for, ending_of
from twinjax.twin.time_to_progression import ProgressionForecast


def progressions(
    prediction: Forecast | CourseForecast,
    settings: JobSettings,
    regimen: Regimen,
    days: Sequence[float],
    *,
    since: float,
) -> list[ProgressionForecast]:
    """Of every quantity that is measured and has a published criterion of progression, from day `since` on.

    `days` are those of the visits, up to `since` or later.
    """
    if isinstance(prediction, CourseForecast):
        parts: list[tuple[Forecast | CourseForecast, list[str]]] = [(prediction, list(prediction.noise))]
    else:
        parts = [(prediction, [f"{region}_volume_mm3" for region in prediction.volume_noise])]
        if prediction.laboratory is not None:
            parts.append((prediction.laboratory, list(prediction.laboratory.noise)))
    found = []
    for forecast, names in parts:
        for name in (name for name in names if ending_of(name) is not None):
            by, baseline = settings.progression_of(name), settings.baseline_day
            if baseline is None and criterion_for(name, by).name == RANO_VOLUME.name:
                baseline = after_radiotherapy(regimen, days, until=since)
            found.append(forecast.progression(name, since=since, baseline=baseline, by=by))
    return found


def after_radiotherapy(regimen: Regimen, days: Sequence[float], *, until: float) -> float | None:
    """The first visit after the last fraction up to day `until`: RANO 2.0's baseline of an irradiated glioma.

    None without radiotherapy, or without a visit after it by then.
    """
    fractions = [np.asarray(one.times) for one in regimen.treatments if one.name == "radiotherapy"]
    given = np.concatenate([np.zeros(0), *fractions])
    given = given[given <= until]
    later = [day for day in days if given.size and given.max() < day <= until]
    return min(later, default=None)
