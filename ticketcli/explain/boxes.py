"""The box around the largest part of a map."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ticketcli.errors import UsageError


def box_of(map: Tensor, threshold: float) -> Tensor:  # noqa: A002 - the interface's name
    """The tight box around the largest connected part of what reaches a share of the map's largest value.

    Pixels are connected by their four sides; of parts equally large the first counts, row by row. A map without a
    positive value says nothing of where: its box is the whole image.

    Args:
        map: [H, W], nowhere negative.
        threshold: share of the largest value, in (0, 1].

    Returns:
        float32 [4] on the CPU: x0, y0, x1, y1 in pixels, from edge to edge: one pixel's box has side 1.

    Raises:
        UsageError: no map, or no share.
    """
    if map.dim() != 2 or not map.numel() or not 0 < threshold <= 1:
        what = f"a map is [H, W] and a threshold in (0, 1], these are {tuple(map.shape)} and {threshold:g}"
        raise UsageError(what, where="box_of")
    values = map.detach().cpu().double().numpy()
    largest = values.max()
    if not largest > 0:
        return torch.tensor([0, 0, map.shape[1], map.shape[0]], dtype=torch.float32)
    parts, _ = ndimage.label(values >= threshold * largest)  # its default connects four sides
    rows, columns = np.nonzero(parts == np.bincount(parts.ravel())[1:].argmax() + 1)
    return torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=torch.float32)
