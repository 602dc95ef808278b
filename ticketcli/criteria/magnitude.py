"""Magnitude: the smallest living weights fall, over all layers in one ranking."""

from __future__ import annotations

from ticketcli.criteria.selection import Request, Selection
from ticketcli.tensors.select import drop_smallest


def magnitude(request: Request) -> Selection:
    """Drop the `fraction` of the living weights that are smallest in magnitude.

    Source: Algorithm 1, "prune smallest non-masked p values"; global, as in the paper's [1].
    """
    return Selection(drop_smallest(request.weights, request.mask, fraction=request.fraction))
