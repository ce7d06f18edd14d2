"""The interactive viewer: scans, forecast and segmentations on three planes, packed small for the page's script."""

import base64
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

from twinjax.domain import Domain
from twinjax.domain.resample import resample
from twinjax.imaging.axial_view import grey_window
from twinjax.imaging.contact_sheet import frame_of
from twinjax.imaging.grid import Grid, upright_grid
from twinjax.imaging.scan import REGIONS, Scan
from twinjax.patient.visit import Visit
from twinjax.report.figure import TreatmentMark, day_blocks
from twinjax.report.report import Viewer
from twinjax.report.section import ANATOMICAL, background_image
from twinjax.twin import Forecast

# What the viewer adds to a report at most, in letters; voxels of one kind at most, for the memory of the browser.
SCAN_LETTERS, MAP_LETTERS, OUTLINE_LETTERS = 2_000_000, 3_000_000, 500_000
VOXELS = 20_000_000
MODALITIES, DAYS = 3, 24
LEVELS = 255
MARGIN_MM = 6.0
FRACTION = "fraction of carrying capacity"


def orthogonal_viewer(
    visits: Sequence[Visit],
    forecast: Forecast,
    *,
    last_day: float | None = None,
    treatments: Sequence[TreatmentMark] = (),
) -> Viewer:
    """Axial, coronal and sagittal planes of the baseline's scans under the forecast, day by day.

    All is brought onto grids along the patient's axes, so that the letters at the margins hold for any affine, and onto
    as coarse a step as the size of the file asks.

    **Arguments:** `visits`, whose segmentations are outlined on their days; `forecast`, with its maps, in the days
    of the visits; `last_day`, after which visits were held out; `treatments` of `treatment_marks`.
    """
    days = _shown_days(np.asarray(forecast.times, float), [visit.day for visit in visits])
    forecast = forecast.at(days)
    scans, scan_grid = _scans(visits[0].scan)
    maps, map_grid = _maps(forecast)
    outlines, outline_grid = _outlines({days.index(v.day): v.scan for v in visits if v.day in days})
    grids = {"scan": scan_grid, "map": map_grid} | ({"outline": outline_grid} if outline_grid else {})
    content = {
        "grids": {name: _placed(grid) for name, grid in grids.items()},
        "scans": scans,
        "maps": maps,
        "outlines": outlines,
        "boundaries": [i for i, each in enumerate(maps) if "region" in each],
        "days": [_day_label(day, visits, last_day) for day in days],
        "start": _start(forecast),
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


def _box(affine, region: np.ndarray) -> Grid:
    """The part of a grid that holds `region` (X, Y, Z), with some margin."""
    domain = Domain(region, np.linalg.norm(affine[:3, :3], axis=0), affine=affine)
    part = domain.cropped(*domain.box_around(region, MARGIN_MM))
    assert part.affine is not None
    return Grid(part.affine, part.shape)


def _fitted(boxes: Sequence[Grid], copies: int, letters: int, pack: Callable[[Grid], list[str]]) -> tuple[Grid, list]:
    """The upright grid around all boxes, as fine as they are or as the size allows, and the `copies` packed on it."""
    edges = np.array([np.linalg.norm(box.affine[:3, :3], axis=0) for box in boxes])
    volume = max(float(np.prod(edge * box.shape)) for edge, box in zip(edges, boxes, strict=True))
    step = max(float(edges.min()), (copies * volume / VOXELS) ** (1 / 3))
    while True:
        grid = upright_grid(boxes, step)
        texts = pack(grid)
        excess = sum(map(len, texts)) / letters
        if excess <= 1:
            return grid, texts
        step *= max(1.03, excess ** (1 / 3))


def _scans(scan: Scan) -> tuple[list[dict[str, Any]], Grid]:
    """The baseline's modalities, the anatomical ones first; of a scan without images its tissue."""
    names = [*(name for name in ANATOMICAL if name in scan.images), *(n for n in scan.images if n not in ANATOMICAL)]
    images = {name: scan.images[name] for name in names[:MODALITIES]} or {"tissue": background_image(scan)}

    def pack(grid: Grid) -> list[str]:
        shown = [resample(np.asarray(image), scan.affine, *grid) for image in images.values()]
        return [packed(quantized(values, *grey_window(values)), 1) for values in shown]

    grid, texts = _fitted([_box(scan.affine, frame_of(scan))], len(images), SCAN_LETTERS, pack)
    return [{"label": name, "codes": text} for name, text in zip(images, texts, strict=True)], grid


def _maps(forecast: Forecast) -> tuple[list[dict[str, Any]], Grid]:
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
    domain = forecast.domain
    affine = np.diag([*domain.spacing, 1.0]) if domain.affine is None else domain.affine

    def pack(grid: Grid) -> list[str]:
        def text(field: np.ndarray, top: float) -> str:
            codes = np.stack([quantized(domain.to_grid(day, *grid), 0.0, top) for day in field])
            return packed(codes, codes[0].size)

        return [text(field, each["top"]) for field, each in zip(fields, maps, strict=True)]

    copies = len(fields) * len(forecast.times)
    grid, texts = _fitted([Grid(affine, domain.shape)], copies, MAP_LETTERS, pack)
    for each, text in zip(maps, texts, strict=True):
        each |= {"colors": _colors(each["colors"]), "codes": text}
    return maps, grid


def _outlines(scans: Mapping[int, Scan]) -> tuple[dict[str, str], Grid | None]:
    """Index of the day to the segmentation, 1 where only the whole tumour is, 2 in the core."""
    seen = {time: scan for time, scan in scans.items() if scan.segmentation is not None and scan.whole_tumor.any()}
    if not seen:
        return {}, None
    codes = {time: (1 * scan.whole_tumor + scan.core).astype(np.uint8) for time, scan in seen.items()}

    def pack(grid: Grid) -> list[str]:
        return [packed(resample(codes[time], scan.affine, *grid, order=0), 1) for time, scan in seen.items()]

    boxes = [_box(scan.affine, scan.whole_tumor) for scan in seen.values()]
    grid, texts = _fitted(boxes, len(seen), OUTLINE_LETTERS, pack)
    return {str(time): text for time, text in zip(seen, texts, strict=True)}, grid


def _colors(name: str) -> str:
    table = matplotlib.colormaps[name](np.arange(LEVELS + 1), bytes=True)[:, :3]
    return base64.b64encode(np.ascontiguousarray(table).tobytes()).decode("ascii")


def _placed(grid: Grid) -> dict[str, Any]:
    """Step, shape and the centre of the first voxel in mm."""
    return {"step": float(grid.affine[0, 0]), "origin": grid.affine[:3, 3].tolist(), "shape": list(grid.shape)}


def _start(forecast: Forecast) -> list[float]:
    """Where the crosshair starts: the centre of the cells that are expected at last (mm)."""
    density = np.asarray(forecast.density_mean[-1], float)
    weights = (density + 1e-12).ravel()
    return (np.asarray(forecast.domain.coordinates()).reshape(3, -1) @ weights / weights.sum()).tolist()


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
    return (
        "Radiological convention: the patient's right is on the left of the axial and coronal plane, anterior on the "
        "left of the sagittal one. Click or drag in a plane to move the crosshair; with a plane focused the arrow keys "
        "move it in the plane, Page Up and Page Down through it, Home brings it back. "
        f"The scan is that of the baseline, on cubes of {scan:.2g} mm, the forecast on cubes of {field:.2g} mm. Values "
        f"are kept in 8 bits, in steps of: {steps}. The viewer's data make {sum(map(len, texts)) / 1e6:.1f} MB of this "
        "file."
    )
