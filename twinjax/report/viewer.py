"""The interactive viewer: scans, forecast and segmentations on three planes, packed small for the page's script."""

import base64
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from scipy.ndimage import center_of_mass

from twinjax.domain import Domain
from twinjax.domain.resample import resample
from twinjax.imaging.axial_view import grey_window
from twinjax.imaging.contact_sheet import frame_of
from twinjax.imaging.grid import Grid, aligned_grid, canonical_axes
from twinjax.imaging.scan import REGIONS, Scan
from twinjax.patient.visit import Visit
from twinjax.report.figure import TreatmentMark, day_blocks
from twinjax.report.report import Viewer
from twinjax.report.section import ANATOMICAL, background_image
from twinjax.twin import Forecast

MODALITIES, DAYS = 3, 24
LEVELS = 255
MARGIN_MM = 6.0
FRACTION = "fraction of capacity"


class Limit(NamedTuple):
    """What is kept at most: `letters` in the report, and `voxels` of all days, for time and the browser's memory."""

    letters: int
    voxels: int


# Scans, being noisy, take half a letter a voxel, maps a twelfth.
SCANS, MAPS, OUTLINES = Limit(2_000_000, 4_000_000), Limit(3_000_000, 20_000_000), Limit(500_000, 20_000_000)


def orthogonal_viewer(
    visits: Sequence[Visit],
    forecast: Forecast,
    *,
    last_day: float | None = None,
    treatments: Sequence[TreatmentMark] = (),
) -> Viewer:
    """Axial, coronal and sagittal planes of the baseline's scans under the forecast, day by day.

    All is brought onto grids along the axes of the forecast's own, turned to be nearest to right, anterior and
    superior, so that the letters at the margins hold for any affine, and onto as coarse a step as the size of the file
    asks.

    **Arguments:** `visits`, whose segmentations are outlined on their days; `forecast`, with its maps, in the days
    of the visits; `last_day`, after which visits were held out; `treatments` of `treatment_marks`.
    """
    days = _shown_days(np.asarray(forecast.times, float), [visit.day for visit in visits])
    forecast = forecast.at(days)
    box = Grid(_affine(forecast.domain), forecast.domain.shape)
    axes = canonical_axes(box.affine)
    scans, scan_grid = _scans(visits[0].scan, axes)
    maps, map_grid = _maps(forecast, box, axes)
    outlines, outline_grid = _outlines({days.index(v.day): v.scan for v in visits if v.day in days}, axes)
    grids = {"scan": scan_grid, "map": map_grid} | ({"outline": outline_grid} if outline_grid else {})
    content = {
        "axes": axes.tolist(),
        "grids": {name: _placed(grid, axes) for name, grid in grids.items()},
        "scan_day": visits[0].day,
        "scans": scans,
        "maps": maps,
        "outlines": outlines,
        "boundaries": [i for i, each in enumerate(maps) if "region" in each],
        "days": [_day_label(day, visits, last_day) for day in days],
        "start": _start(forecast, box, axes),
        "timeline": _timeline(days, visits, last_day, treatments),
    }
    return Viewer(_caption(content), content)


def quantized(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """The nearest of 256 levels (uint8) from `low` to `high`: at most half a step, (`high` - `low`) / 510, away."""
    return np.rint(np.clip((values - low) / ((high - low) or 1.0), 0, 1) * LEVELS).astype(np.uint8)


def packed(codes: np.ndarray, stride: int) -> str:
    """Codes (uint8) as text: differences to the code `stride` places before, modulo 256, deflated, in base 64.

    What changes little along that stride, a map from day to day, becomes nearly all zeros.
    """
    flat = np.ascontiguousarray(codes).ravel()
    changes = flat.copy()
    changes[stride:] -= flat[:-stride]
    return base64.b64encode(zlib.compress(changes.tobytes())).decode("ascii")


def _shown_days(times: np.ndarray, visit_days: Sequence[float]) -> list[float]:
    """The first and last day, those of visits, and of the others, evenly chosen, so many as to make `DAYS`."""
    kept = np.isin(times, visit_days)
    kept[[0, -1]] = True
    others = np.flatnonzero(~kept)
    count = min(len(others), max(0, DAYS - int(kept.sum())))
    kept[others[np.linspace(0, len(others) - 1, count).round().astype(int)]] = True
    return times[kept].tolist()


def _box(scan: Scan, region: np.ndarray) -> tuple[Grid, tuple[slice, ...]]:
    """The part of a scan that holds `region` (X, Y, Z), with some margin: its grid and its place in the arrays."""
    domain = Domain(region, scan.spacing, affine=scan.affine)
    lower, upper = domain.box_around(region, MARGIN_MM)
    shift = np.eye(4)
    shift[:3, 3] = lower
    place = tuple(slice(first, last) for first, last in zip(lower, upper, strict=True))
    return Grid(scan.affine @ shift, region[place].shape), place


def _fitted(
    boxes: Sequence[Grid], axes: np.ndarray, copies: int, limit: Limit, pack: Callable[[Grid], list[str]]
) -> tuple[list[str], Grid]:
    """What is packed on the grid along the axes around all boxes, as fine as they are or the limit allows; the grid."""
    edges = np.array([np.linalg.norm(box.affine[:3, :3], axis=0) for box in boxes])
    volume = max(float(np.prod(edge * box.shape)) for edge, box in zip(edges, boxes, strict=True))
    step = max(float(edges.min()), (copies * volume / limit.voxels) ** (1 / 3))
    while True:
        grid = aligned_grid(boxes, axes, step)
        texts = pack(grid)
        excess = sum(map(len, texts)) / limit.letters
        if excess <= 1:
            return texts, grid
        step *= 1.02 * excess ** (1 / 3)


def _scans(scan: Scan, axes: np.ndarray) -> tuple[list[dict[str, Any]], Grid]:
    """The baseline's modalities, the anatomical ones first; of a scan without images its tissue."""
    names = [*(name for name in ANATOMICAL if name in scan.images), *(n for n in scan.images if n not in ANATOMICAL)]
    images = {name: scan.images[name] for name in names[:MODALITIES]} or {"tissue": background_image(scan)}
    box, place = _box(scan, frame_of(scan))

    def pack(grid: Grid) -> list[str]:
        shown = [resample(np.asarray(image)[place], box.affine, *grid) for image in images.values()]
        return [packed(quantized(values, *grey_window(values)), 1) for values in shown]

    texts, grid = _fitted([box], axes, len(images), SCANS, pack)
    return [{"label": name, "codes": text} for name, text in zip(images, texts, strict=True)], grid


def _maps(forecast: Forecast, box: Grid, axes: np.ndarray) -> tuple[list[dict[str, Any]], Grid]:
    """Mean, standard deviation and chances of being visible; `region` says of which region a map is the chance."""
    most, spread = max(1.0, float(np.max(forecast.density_mean))), float(np.max(forecast.density_std)) or 1.0
    maps = [
        {"label": "mean cell density", "unit": FRACTION, "colors": "inferno", "top": most},
        {"label": "standard deviation of the density", "unit": FRACTION, "colors": "viridis", "top": spread},
    ]
    fields = [forecast.density_mean, forecast.density_std, *forecast.visible_probability.values()]
    for region in forecast.visible_probability:
        label = f"probability of visible tumour: {REGIONS[region]}"
        maps.append({"label": label, "unit": "share of the draws", "colors": "cividis", "top": 1.0, "region": region})

    def pack(grid: Grid) -> list[str]:
        def text(field: np.ndarray, top: float) -> str:
            codes = np.stack([quantized(resample(day, box.affine, *grid), 0.0, top) for day in field])
            return packed(codes, codes[0].size)

        return [text(field, each["top"]) for field, each in zip(fields, maps, strict=True)]

    texts, grid = _fitted([box], axes, len(fields) * len(forecast.times), MAPS, pack)
    for each, text in zip(maps, texts, strict=True):
        each |= {"colors": _colors(each["colors"]), "codes": text}
    return maps, grid


def _outlines(scans: Mapping[int, Scan], axes: np.ndarray) -> tuple[dict[str, str], Grid | None]:
    """Index of the day to the segmentation, 1 where only the whole tumour is, 2 in the core."""
    seen = {time: scan for time, scan in scans.items() if scan.segmentation is not None and scan.whole_tumor.any()}
    if not seen:
        return {}, None
    parts = []
    for scan in seen.values():
        box, place = _box(scan, scan.whole_tumor)
        parts.append((box, (1 * scan.whole_tumor + scan.core)[place].astype(np.uint8)))

    def pack(grid: Grid) -> list[str]:
        return [packed(resample(codes, box.affine, *grid, order=0), 1) for box, codes in parts]

    texts, grid = _fitted([box for box, _ in parts], axes, len(parts), OUTLINES, pack)
    return {str(time): text for time, text in zip(seen, texts, strict=True)}, grid


def _colors(name: str) -> str:
    table = matplotlib.colormaps[name](np.arange(LEVELS + 1), bytes=True)[:, :3]
    return base64.b64encode(np.ascontiguousarray(table).tobytes()).decode("ascii")


def _affine(domain: Domain) -> np.ndarray:
    return np.diag([*domain.spacing, 1.0]) if domain.affine is None else domain.affine


def _placed(grid: Grid, axes: np.ndarray) -> dict[str, Any]:
    """Step and shape, and where the first voxel has its centre, in mm along the axes."""
    step = float(np.linalg.norm(grid.affine[:3, 0]))
    return {"step": step, "origin": (axes.T @ grid.affine[:3, 3]).tolist(), "shape": list(grid.shape)}


def _start(forecast: Forecast, box: Grid, axes: np.ndarray) -> list[float]:
    """Where the crosshair starts: the centre of the cells that are expected at last, in mm along the axes."""
    centre = center_of_mass(np.asarray(forecast.density_mean[-1], float) + 1e-12)
    return (axes.T @ (box.affine @ [*centre, 1.0])[:3]).tolist()


def _is_held_out(day: float, last_day: float | None) -> bool:
    return last_day is not None and day > last_day


def _day_label(day: float, visits: Sequence[Visit], last_day: float | None) -> str:
    if all(visit.day != day for visit in visits):
        return f"day {day:g}"
    return f"day {day:g}, visit{' held out' if _is_held_out(day, last_day) else ''}"


def _timeline(
    days: Sequence[float], visits: Sequence[Visit], last_day: float | None, treatments: Sequence[TreatmentMark]
) -> list[dict[str, Any]]:
    """The rows below the slider; places in per cent of its length, which has a day a stop and is not even in time."""
    if len(days) < 2:
        return []

    def place(day: float) -> float:
        return 100 * float(np.interp(day, days, np.arange(len(days)))) / (len(days) - 1)

    seen = [visit.day for visit in visits if visit.day in days]
    marks = [{"left": place(day), "symbol": "△" if _is_held_out(day, last_day) else "▲"} for day in seen]
    label = "visits, △ held out" if any(_is_held_out(day, last_day) for day in seen) else "visits"
    rows = [{"label": label, "text": f"visits on days {', '.join(f'{day:g}' for day in seen)}", "marks": marks}]
    for treatment in treatments:
        blocks = [(first, last) for first, last in day_blocks(treatment.times) if days[0] <= first <= days[-1]]
        marks = [{"left": place(a), "width": place(min(b + 1, days[-1])) - place(a)} for a, b in blocks]
        text = f"{treatment.label} on days {', '.join(f'{a:g}' if a == b else f'{a:g} to {b:g}' for a, b in blocks)}"
        rows.append({"label": treatment.label, "text": text, "marks": marks})
    return rows


def _caption(content: Mapping[str, Any]) -> str:
    texts = [each["codes"] for each in (*content["scans"], *content["maps"])] + list(content["outlines"].values())
    steps = "; ".join(f"{each['label']} {each['top'] / LEVELS:.2g}" for each in content["maps"])
    scan, field = (content["grids"][name]["step"] for name in ("scan", "map"))
    tilt = np.degrees(np.arccos(np.clip(np.diag(content["axes"]), -1, 1)).max())
    tilted = f" The planes are those of the scan, {tilt:.0f}° off the patient's axes." if tilt > 1 else ""
    return (
        "Radiological convention: the patient's right is on the left of the axial and coronal plane, anterior on the "
        f"left of the sagittal one.{tilted} Click or drag in a plane to move the crosshair; with a plane focused the "
        "arrow keys move it in the plane, Page Up and Page Down through it, Home brings it back. The scan is on cubes "
        f"of {scan:.2g} mm, the forecast on cubes of {field:.2g} mm. Values are kept in 8 bits, in steps of: {steps}. "
        f"The viewer's data make {sum(map(len, texts)) / 1e6:.2g} MB of this file."
    )
