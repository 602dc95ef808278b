"""Outlines and label images at another size: every shown pixel takes what lies at its centre.

That is COCO's own rule for drawing outlines. Visible parts that are disjoint stay so, and no label is mixed of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticketcli.data.outlines import bitmap

Size = tuple[int, int]


def centres(old: int, new: int) -> NDArray[np.int64]:
    """[new]: in which of `old` pixels the centre of each of `new` pixels lies."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def sampled_map(labels: Tensor, size: Size) -> Tensor:
    """A label image uint8 [H, W] at another size: uint8 [h, w]."""
    rows, columns = (torch.from_numpy(centres(old, new)) for old, new in zip(labels.shape, size, strict=True))
    return labels[rows][:, columns]


def sampled_masks(outlines: Sequence[Any], extent: Size, size: Size) -> Tensor:
    """Outlines on an image of `extent`, as ones on zeros at another size: uint8 [n, h, w].

    Only the part in which an object lies is looked at: objects are many, and most are small.
    """
    rows, columns = (centres(old, new) for old, new in zip(extent, size, strict=True))
    found = np.zeros((len(outlines), *size), dtype=np.uint8)
    for mask, outline in zip(found, outlines, strict=True):
        turned = bitmap(outline, *extent).T.view(
            np.bool_
        )  # run lengths go down the columns: [W, H] lies in memory row by row
        across = np.flatnonzero(turned.any(1))
        if len(across):
            part = turned[across[0] : across[-1] + 1]
            down = np.flatnonzero(part.any(0))
            left, right = np.searchsorted(columns, (across[0], across[-1] + 1))
            top, bottom = np.searchsorted(rows, (down[0], down[-1] + 1))
            part = part[columns[left:right] - across[0]]
            mask[top:bottom, left:right] = part[:, rows[top:bottom]].T
    return torch.from_numpy(found)
