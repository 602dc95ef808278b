"""Magnitude: the smallest living weights fall, over all layers in one ranking or layer by layer."""

from __future__ import annotations

from ticketcli.criteria.selection import Request, leave
from ticketcli.store.mask import Mask


def magnitude(request: Request) -> Mask:
    """Drop the living weights that are smallest in magnitude, as many as were asked for.

    Source: Algorithm 1, "prune smallest non-masked p values"; global, as in the paper's [1].
    """
    return leave(request.weights, request.mask, request.kept)
