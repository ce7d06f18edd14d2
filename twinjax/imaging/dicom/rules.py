"""`DicomRules`: which series is which image, and which region of a mask is which label."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from yaml import YAMLError

from twinjax.core.config import instantiate, load_named
from twinjax.core.errors import InputError
from twinjax.imaging import labels
from twinjax.imaging.dicom.series import Series
from twinjax.imaging.dicom.stack import is_dynamic

LEAVE_OUT = "leave_out"
REGIONS = {
    "necrotic": labels.NECROTIC,
    "oedema": labels.OEDEMA,
    "enhancing": labels.ENHANCING,
    "cavity": labels.CAVITY,
}


@dataclass(frozen=True)
class SeriesRule:
    """A series that meets all conditions that are given becomes the image `name`.

    Regular expressions are searched in any case, `_`, `-`, `.` and `/` read as spaces.

    **Fields:**

    - `name`: of the image file (`T1`, `T1CE`, ...), or `leave_out`.
    - `modality`: of the header, `CT`, `MR` or `PT`.
    - `description`, `exclude`: what the series description, or the protocol name where there is none, must have and
      must not have.
    - `contrast`: whether the header names a contrast agent. `radiopharmaceutical`: what its name must have.
    - `dynamic`: whether the series shows several time points.
    - `series_number`: one of these.
    - `echo_time_ms`, `repetition_time_ms`, `inversion_time_ms`: [lowest, highest].
    - `scale`: what voxels are multiplied by where the header says nothing of their unit (1e-6 for ADC in µm²/s).
    - `suv`: whether PET in Bq/mL is brought to body-weight SUV.
    """

    name: str
    modality: str | None = None
    description: str | None = None
    exclude: str | None = None
    contrast: bool | None = None
    radiopharmaceutical: str | None = None
    dynamic: bool = False
    series_number: Sequence[int] | None = None
    echo_time_ms: Sequence[float] | None = None
    repetition_time_ms: Sequence[float] | None = None
    inversion_time_ms: Sequence[float] | None = None
    scale: float | None = None
    suv: bool = True

    def __post_init__(self):
        # It becomes the name of a file.
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", self.name):
            raise InputError(f"rule '{self.name}': a name has letters, digits and _; rename it")
        for field in ("description", "exclude", "radiopharmaceutical"):
            _check_pattern(getattr(self, field), f"rule {self.name}: {field}")
        for field in ("echo_time_ms", "repetition_time_ms", "inversion_time_ms"):
            interval = getattr(self, field)
            if interval is not None and (len(interval) != 2 or interval[0] > interval[1]):
                raise InputError(f"rule {self.name}: {field} must be [lowest, highest], got {list(interval)}")

    def matches(self, series: Series) -> bool:
        header = series.first
        number = (self.series_number is None) or series.number in self.series_number
        return (
            number
            and self.modality in (None, series.modality)
            and _found(self.description, series.description, default=True)
            and not _found(self.exclude, series.description, default=False)
            and self.contrast in (None, bool(header.text("ContrastBolusAgent")))
            and _found(self.radiopharmaceutical, header.text("Radiopharmaceutical"), default=True)
            and all(
                interval is None or interval[0] <= header.number(keyword, -1.0) <= interval[1]
                for keyword, interval in (
                    ("EchoTime", self.echo_time_ms),
                    ("RepetitionTime", self.repetition_time_ms),
                    ("InversionTime", self.inversion_time_ms),
                )
            )
            and (self.name == LEAVE_OUT or self.dynamic == is_dynamic(series))
        )


class DicomRules:
    """What becomes of each series and of each region of a mask. See `conf/dicom/default.yaml`.

    **Arguments:**

    - `series`: `SeriesRule`s or mappings with their fields; the first that matches holds.
    - `regions`: mappings `{region, name}`, in the order in which they are painted: `region` is `necrotic`, `oedema`,
      `enhancing` or `cavity`, `name` a regular expression on the name of the region in the file.
    - `exclude`: a regular expression; series with it in their description or image type are left out.
    - `choose`: where two series of a visit are one image, `"error"`, or take the `"first"` or `"last"` by number.

    Raises `InputError` for unknown fields, regions and choices, and for what is no regular expression.
    """

    def __init__(
        self,
        series: Sequence[SeriesRule | Mapping[str, Any]],
        regions: Sequence[Mapping[str, str]] = (),
        exclude: str | None = None,
        choose: str = "error",
    ):
        self.series = tuple(rule if isinstance(rule, SeriesRule) else _series_rule(rule) for rule in series)
        self.regions = tuple(dict(rule) for rule in regions)
        self.exclude, self.choose = exclude, choose
        for rule in self.regions:
            if set(rule) != {"region", "name"} or rule["region"] not in REGIONS:
                raise InputError(f"a region rule has 'region' ({', '.join(REGIONS)}) and 'name'; got {rule}")
            _check_pattern(rule["name"], f"region rule {rule['region']}")
        _check_pattern(exclude, "exclude")
        if choose not in ("error", "first", "last"):
            raise InputError(f"choose must be error, first or last, got '{choose}'")

    def preceded_by(self, *series: SeriesRule | Mapping[str, Any]) -> "DicomRules":
        """These rules with others in front, which hold before them."""
        return DicomRules([*series, *self.series], self.regions, self.exclude, self.choose)

    def rule_for(self, series: Series) -> SeriesRule | None:
        """The first rule that matches a series; None if it is to be left out."""
        rule = next((rule for rule in self.series if rule.matches(series)), None)
        by_number = rule is not None and rule.series_number is not None
        if not by_number and _found(self.exclude, f"{series.description} {series.first.text('ImageType')}", False):
            return None
        return None if rule is None or rule.name == LEAVE_OUT else rule

    def region_for(self, name: str) -> str | None:
        """The region of `REGIONS` that a name in a mask file stands for; the last rule that matches holds."""
        return next((rule["region"] for rule in reversed(self.regions) if _found(rule["name"], name, False)), None)

    def label_map(self, masks: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """The (X, Y, Z) int8 labels (`twinjax.imaging.labels`) of named bool masks; None if no name has a rule."""
        order = [rule["region"] for rule in self.regions]
        named = [(self.region_for(name), mask) for name, mask in masks.items()]
        known = [(region, mask) for region, mask in named if region is not None]
        if not known:
            return None
        label_map = np.zeros(known[0][1].shape, dtype=np.int8)
        for region, mask in sorted(known, key=lambda item: order.index(item[0])):
            label_map[mask] = REGIONS[region]
        return label_map


def load_rules(rules: DicomRules | str | Path | None = None) -> DicomRules:
    """The rules of a name in `conf/dicom` (None: `default`) or of a YAML file of the user's (a path, or text that ends
    in .yaml or .yml)."""
    if isinstance(rules, DicomRules):
        return rules
    if isinstance(rules, Path) or str(rules).endswith((".yaml", ".yml")):
        path = Path(str(rules))
        try:
            node = OmegaConf.load(path)
        except (OSError, ValueError, YAMLError) as error:
            raise InputError(f"{path.name} is no YAML file that can be read; check the path and the file") from error
        loaded = instantiate(node, where=path.name)
    else:
        loaded = load_named("dicom", rules or "default")
    if not isinstance(loaded, DicomRules):
        raise InputError("rules: the file must have _target_: twinjax.imaging.dicom.DicomRules")
    return loaded


def _series_rule(fields: Mapping[str, Any]) -> SeriesRule:
    known = [field.name for field in dataclasses.fields(SeriesRule)]
    unknown = [str(key) for key in fields if key not in known]
    if unknown or "name" not in fields:
        given = ", ".join(map(str, fields))
        raise InputError(f"a series rule has 'name' and any of {', '.join(known[1:])}; got {given}")
    return SeriesRule(**fields)


def _found(pattern: str | None, text: str, default: bool) -> bool:
    return default if pattern is None else re.search(pattern, re.sub(r"[_\-./]", " ", text), re.IGNORECASE) is not None


def _check_pattern(pattern: str | None, where: str) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise InputError(f"{where}: '{pattern}' is no regular expression ({error}); mend it") from error
