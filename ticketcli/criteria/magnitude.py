"""Magnitude: the smallest living weights fall, over all layers in one ranking."""

from __future__ import annotations

from ticketcli.criteria.selection import Request, Selection
from ticketcli.tensors.select import drop_count


def magnitude(request: Request) -> Selection:
    """Drop the living weights that are smallest in magnitude, as many as were asked for.

    Source: Algorithm 1, "prune smallest non-masked p values"; global, as in the paper's [1].
    """
    return Selection(drop_count(request.weights, request.mask, count=request.n_to_drop))
