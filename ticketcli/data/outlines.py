"""Outlines as bitmaps: run lengths by numpy; polygons by hotcoco (extra `coco`), which draws as COCO's library does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ticketcli.annotations.run_lengths import counts_of
from ticketcli.errors import InputMissing


def run_lengths(bitmap: NDArray[np.bool_]) -> dict[str, Any]:
    """A bitmap [H, W] as COCO's uncompressed run lengths: down the columns, zeros first."""
    flat = np.asarray(bitmap, dtype=bool).flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    counts = np.diff(bounds).tolist()
    return {"size": list(bitmap.shape), "counts": [0, *counts] if flat.size and flat[0] else counts}


def bitmap(segmentation: Any, height: int, width: int) -> NDArray[np.uint8]:
    """An outline as ones on zeros, [H, W]; in memory it lies column by column.

    Raises:
        InputMissing: polygons, and hotcoco is not installed.
    """
    if isinstance(segmentation, list):
        return _drawn(segmentation, height, width)
    counts = counts_of(segmentation)
    values = np.arange(len(counts), dtype=np.uint8) & 1
    return np.repeat(values, counts).reshape((height, width), order="F")


def _drawn(polygons: list[Any], height: int, width: int) -> NDArray[np.uint8]:
    """What any of the polygons covers."""
    try:
        from hotcoco import mask
    except ImportError:
        what = "objects are outlined by polygons, which hotcoco draws, and it is not installed"
        raise InputMissing(what, where="data", hint="pip install 'ticketcli[coco]'") from None
    runs = mask.merge(mask.frPyObjects(polygons, height, width))
    drawn: NDArray[np.uint8] = mask.decode(runs)
    return drawn
