"""`Plan`: which series becomes which image of which day, decided from headers alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twinjax.core.errors import InputError
from twinjax.imaging.dicom.mask_file import host, read_masks
from twinjax.imaging.dicom.pixels import check_pixels
from twinjax.imaging.dicom.rules import DicomRules, SeriesRule
from twinjax.imaging.dicom.series import MASK_MODALITIES, Series
from twinjax.imaging.dicom.stack import Stack, read_stack

SEGMENTATION = "segmentation"


@dataclass(frozen=True, eq=False)
class PlannedImage:
    """A series that becomes the image `rule.name` of `day`."""

    series: Series
    rule: SeriesRule
    day: int
    stack: Stack


@dataclass(frozen=True, eq=False)
class PlannedMask:
    """Labels (X, Y, Z) int8 on the grid `affine`, the segmentation of `day`; `note` says which regions it has."""

    series: Series
    day: int
    affine: np.ndarray
    labels: np.ndarray
    note: str


@dataclass(frozen=True, eq=False)
class Plan:
    """What is converted, and (series, reason) of what is not."""

    images: tuple[PlannedImage, ...]
    masks: tuple[PlannedMask, ...]
    left_out: tuple[tuple[Series, str], ...]


def make_plan(everything: Sequence[Series], rules: DicomRules, required: Sequence[str]) -> Plan:
    """Decide what becomes of each series, all headers checked. Raises `InputError` as `convert_dicom` says."""
    candidates = [series for series in everything if series.modality not in MASK_MODALITIES]
    matched = {series: rule for series in candidates if (rule := rules.rule_for(series)) is not None}
    if not matched:
        listed = "; ".join(series.label for series in everything[:8])
        raise InputError(f"no series matches a rule: {listed}; add a rule as in conf/dicom/default.yaml")
    left_out = [(series, "no rule matches") for series in candidates if series not in matched]
    days = _days(list(matched))
    groups: dict[tuple[int, str], list[Series]] = {}
    for series, rule in matched.items():
        groups.setdefault((days[series], rule.name), []).append(series)
    chosen = {key: _choose(group, key[1], rules, left_out) for key, group in groups.items()}
    _check_required(chosen, required, left_out)
    images = []
    for (day, _), series in chosen.items():
        images.append(PlannedImage(series, matched[series], day, read_stack(series)))
        check_pixels(series)
    masks = _plan_masks(everything, images, rules, left_out)
    return Plan(tuple(images), tuple(masks), tuple(left_out))


def _days(series: Sequence[Series]) -> dict[Series, int]:
    """Days since the first of the dates, which go no further than here."""
    dates = {group: group.date for group in series}
    undated = [group for group, date in dates.items() if date is None]
    if undated:
        if len({group.first.text("StudyInstanceUID") for group in series}) > 1:
            raise InputError(f"{undated[0].label} has no StudyDate, which tells visits apart; export it with its date")
        return dict.fromkeys(series, 0)
    ordinals = {group: date.toordinal() for group, date in dates.items() if date is not None}
    return {group: ordinal - min(ordinals.values()) for group, ordinal in ordinals.items()}


def _choose(group: Sequence[Series], name: str, rules: DicomRules, left_out: list[tuple[Series, str]]) -> Series:
    """The one series of a visit that is `name`; the others go to `left_out`."""
    ordered = sorted(group, key=lambda series: series.number)
    if len(ordered) > 1 and rules.choose == "error":
        one, two = ordered[:2]
        raise InputError(
            f"{one.label} and {two.label} of one visit are both {name}; set choose: last in the rules, or add the rule "
            f"{{name: leave_out, series_number: [{one.number}]}} in front"
        )
    chosen = ordered[0 if rules.choose == "first" else -1]
    left_out += [(series, f"series {chosen.number} is {name}") for series in ordered if series is not chosen]
    return chosen


def _check_required(
    chosen: dict[tuple[int, str], Series], required: Sequence[str], left_out: Sequence[tuple[Series, str]]
) -> None:
    for day in sorted({day for day, _ in chosen}):
        found = [name for other, name in chosen if other == day]
        missing = [name for name in required if name not in found]
        if missing:
            rest = "; ".join(series.label for series, _ in left_out) or "none"
            raise InputError(
                f"day_{day:04d}: {', '.join(missing)} missing, found {', '.join(found)}; add the series, or a rule for "
                f"one that was left out ({rest})"
            )


def _plan_masks(
    everything: Sequence[Series], images: Sequence[PlannedImage], rules: DicomRules, left_out: list[tuple[Series, str]]
) -> list[PlannedMask]:
    days = {image.series.date: image.day for image in images}
    hosts = [image.series for image in images]
    # A mask may have been drawn on a series that is itself left out.
    hosts += [series for series in everything if series not in hosts and series.modality not in MASK_MODALITIES]
    masks: dict[int, list[PlannedMask]] = {}
    for series in (series for series in everything if series.modality in MASK_MODALITIES):
        for instance in series.instances:
            drawn_on = host(instance, hosts)
            if drawn_on is None or drawn_on.date not in days:
                left_out.append((series, "the series that it was drawn on is not among the images"))
                continue
            affine, shape, *_ = next((i.stack for i in images if i.series is drawn_on), None) or read_stack(drawn_on)
            regions: dict[str, str | None] = {}

            def wanted(name: str, regions: dict[str, str | None] = regions) -> bool:
                regions[name] = rules.region_for(name)
                return regions[name] is not None

            labels = rules.label_map(read_masks(instance, affine, shape, wanted))
            if labels is None:
                left_out.append((series, f"no region rule matches {', '.join(regions) or 'its regions, it has none'}"))
                continue
            note = ", ".join(f"'{name}' as {region or 'nothing'}" for name, region in regions.items())
            day = days[drawn_on.date]
            masks.setdefault(day, []).append(PlannedMask(series, day, affine, labels, note))
    planned = []
    for group in masks.values():
        kept = _choose([mask.series for mask in group], SEGMENTATION, rules, left_out)
        planned.append(next(mask for mask in reversed(group) if mask.series is kept))
    return planned
