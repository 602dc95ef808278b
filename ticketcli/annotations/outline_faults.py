"""What is wrong with an outline: polygons, run lengths, packed run lengths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ticketcli.annotations.document import finite, shown
from ticketcli.annotations.run_lengths import unpacked

NUMBERS = frozenset({int, float})
_WHOLE = frozenset({int})
_FEWEST = 6  # numbers: a triangle

Told = tuple[str, str, str]  # kind, field, what


def outline_faults(outline: Any, size: tuple[int, int] | None, *, crowd: bool) -> Iterator[Told]:
    """The faults of an outline that is neither None nor empty.

    Args:
        outline: as JSON has it.
        size: height and width of its image; None where nobody knows.
        crowd: whether it is a region of many objects.
    """
    if isinstance(outline, list):
        if crowd:
            yield "crowd-polygons", "segmentation", "crowd regions are usually written as run lengths"
        yield from _polygon_faults(outline)
    elif isinstance(outline, dict):
        yield from _run_faults(outline, size)
    else:
        yield "malformed", "segmentation", f"{shown(outline)} is no outline"


def _polygon_faults(polygons: list[Any]) -> Iterator[Told]:
    for index, polygon in enumerate(polygons):
        field = f"segmentation[{index}]"
        if not isinstance(polygon, list) or not NUMBERS.issuperset(map(type, polygon)):
            yield "malformed", field, f"{shown(polygon)} is no list of x and y"
        elif len(polygon) < _FEWEST or len(polygon) % 2:
            yield "polygon", field, f"{len(polygon)} numbers are no polygon"
        elif not finite(polygon):
            yield "not-finite", field, "a number is not finite"


def _run_faults(outline: dict[str, Any], size: tuple[int, int] | None) -> Iterator[Told]:
    extent = outline.get("size")
    if not isinstance(extent, list) or len(extent) != 2 or not _WHOLE.issuperset(map(type, extent)) or min(extent) < 1:
        yield "malformed", "segmentation.size", f"{shown(extent)} is not height, width"
        return
    counts = outline.get("counts")
    if isinstance(counts, str):
        try:
            counts = unpacked(counts)
        except ValueError as error:
            yield "packed-counts", "segmentation.counts", str(error)
            return
    elif not isinstance(counts, list) or not _WHOLE.issuperset(map(type, counts)) or min(counts, default=0) < 0:
        yield "malformed", "segmentation.counts", f"{shown(counts)} is no list of run lengths"
        return
    total, pixels = sum(counts), extent[0] * extent[1]
    if size is not None and tuple(extent) != size:
        here, there = (f"{width} x {height}" for height, width in (extent, size))
        yield "run-lengths", "segmentation.size", f"for {here} pixels, the image is {there}"
    elif total != pixels:
        yield "run-lengths", "segmentation.counts", f"{total:,} pixels of {pixels:,}"
