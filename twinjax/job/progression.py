"""When what was forecast progresses."""

from twinjax.job.settings import JobSettings
from twinjax.twin import CourseForecast, Forecast
from twinjax.twin.criteria import ending_of
from twinjax.twin.time_to_progression import ProgressionForecast


def progressions(
    prediction: Forecast | CourseForecast, settings: JobSettings, *, since: float
) -> list[ProgressionForecast]:
    """Of every quantity that is measured and has a published criterion of progression, from day `since` on."""
    if isinstance(prediction, CourseForecast):
        parts: list[tuple[Forecast | CourseForecast, list[str]]] = [(prediction, list(prediction.noise))]
    else:
        parts = [(prediction, [f"{region}_volume_mm3" for region in prediction.volume_noise])]
        if prediction.laboratory is not None:
            parts.append((prediction.laboratory, list(prediction.laboratory.noise)))
    return [
        forecast.progression(name, since=since, baseline=settings.baseline_day, by=settings.progression_of(name))
        for forecast, names in parts
        for name in names
        if ending_of(name) is not None
    ]
