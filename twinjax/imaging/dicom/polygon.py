"""Polygons in a plane of voxels: outlines of a mask, and the mask inside outlines."""

from collections.abc import Iterable
from itertools import pairwise

import contourpy
import numpy as np


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Closed polygons (N, 2) around the true pixels of an (X, Y) mask, in index coordinates, without overlaps.

    They run halfway between true and false pixel centres. A hole is joined to its outline by a channel of no
    width, there and back ("keyhole", DICOM PS3.3 C.8.8.6.3), so each polygon stands by itself.
    """
    padded = np.pad(np.asarray(mask, dtype=float), 1)
    # contourpy takes rows as y.
    generator = contourpy.contour_generator(z=padded.T, fill_type=contourpy.FillType.OuterOffset)
    polygons = []
    for points, offsets in zip(*generator.filled(0.5, 2.0), strict=True):
        loops = [points[start:end] - 1 for start, end in pairwise(offsets)]
        polygon = loops[0]
        for hole in loops[1:]:
            polygon = _joined(polygon, hole)
        polygons.append(polygon[:-1])
    return polygons


def _joined(polygon: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Two closed loops as one, through their nearest points."""
    distance = np.linalg.norm(polygon[:, None] - hole[None], axis=2)
    i, j = np.unravel_index(int(np.argmin(distance)), distance.shape)
    around = np.concatenate([hole[j:-1], hole[: j + 1]])
    return np.concatenate([polygon[: i + 1], around, polygon[i:]])


def fill(polygons: Iterable[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The pixels of an (X, Y) grid whose centres lie inside an odd number of polygons (N, 2), bool.

    Even-odd rule along the lines of constant y: each edge flips all pixels to the right of where it crosses.
    """
    flips = np.zeros((shape[0] + 1, shape[1]), dtype=np.int64)
    for polygon in polygons:
        start, end = polygon, np.roll(polygon, -1, axis=0)
        # Upwards, so that an edge walked there and back crosses at the same place to the last bit.
        down = (start[:, 1] > end[:, 1])[:, None]
        low, high = np.where(down, end, start), np.where(down, start, end)
        first, last = (np.clip(np.ceil(y), 0, shape[1]).astype(int) for y in (low[:, 1], high[:, 1]))
        # One entry for each line that an edge crosses.
        edge = np.repeat(np.arange(len(polygon)), last - first)
        line = np.arange(len(edge)) - np.repeat(np.cumsum(last - first) - last, last - first)
        (x0, y0), (x1, y1) = low[edge].T, high[edge].T
        crossing = np.ceil(x0 + (line - y0) * (x1 - x0) / (y1 - y0))
        np.add.at(flips, (np.clip(crossing, 0, shape[0]).astype(int), line), 1)
    return np.cumsum(flips, axis=0)[:-1] % 2 == 1
