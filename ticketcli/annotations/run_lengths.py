"""Run lengths of COCO's masks: down the columns, zeros first; as numbers, or packed into a string."""

from __future__ import annotations

from typing import Any

_ZERO = 48  # characters 0 to o stand for 0 to 63
_MORE, _NEGATIVE = 32, 16


def unpacked(text: str) -> list[int]:
    """The numbers of a packed string.

    Six bits a character: five of a number, the lowest first, and whether more follow; from the fourth number on, what
    is written is the difference to the last but one.

    Raises:
        ValueError: a character that stands for nothing, a number that does not end, or one below zero.

    Source: rleFrString of pycocotools' maskApi.
    """
    found: list[int] = []
    number = shift = bits = 0
    for character in text:
        bits = ord(character) - _ZERO
        if not 0 <= bits < 64:
            raise ValueError(f"{character!a} is no packed number")
        number |= (bits & 31) << shift
        shift += 5
        if bits & _MORE:
            continue
        if bits & _NEGATIVE:
            number -= 1 << shift
        if len(found) > 2:
            number += found[-2]
        if number < 0:
            raise ValueError(f"run {len(found)} has {number} pixels")
        found.append(number)
        number = shift = 0
    if bits & _MORE:
        raise ValueError("the last number does not end")
    return found


def counts_of(segmentation: dict[str, Any]) -> list[int]:
    """The run lengths of an outline that is written as such, packed or not.

    Raises:
        ValueError: they cannot be unpacked.
    """
    counts = segmentation["counts"]
    return unpacked(counts) if isinstance(counts, str) else counts


def area_of(segmentation: Any) -> float:
    """Pixels of an outline: exact of run lengths; of polygons what the edges enclose, overlaps counted twice.

    Raises:
        ValueError: run lengths cannot be unpacked.
    """
    if isinstance(segmentation, dict):
        return float(sum(counts_of(segmentation)[1::2]))
    total = 0.0
    for polygon in segmentation:
        x, y = polygon[0::2], polygon[1::2]
        turned = zip(x, y, [*x[1:], *x[:1]], [*y[1:], *y[:1]], strict=False)
        total += abs(sum(x0 * y1 - x1 * y0 for x0, y0, x1, y1 in turned)) / 2
    return total
