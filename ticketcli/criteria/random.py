"""Random: the control that keeps nothing of a ticket but, at most, how many weights each layer has."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ticketcli.criteria.selection import Request, Selection
from ticketcli.errors import MismatchError
from ticketcli.store.mask import Mask
from ticketcli.tensors.seeds import derive, uniforms
from ticketcli.tensors.select import drop_count


def _scores(request: Request) -> dict[str, Tensor]:
    """A fixed uniform score for every weight, by seed and name: rounds of one seed are nested by construction."""
    scores = {}
    for name, array in request.mask.items():
        draws = uniforms(derive(request.seed, f"random/{name}"), np.arange(array.size, dtype=np.uint64))
        scores[name] = torch.from_numpy(draws.astype(np.float32)).reshape(array.shape)
    return scores


def random(request: Request) -> Selection:
    """Drop weights at random: uniformly, or with `like` so that each layer keeps as many as that mask keeps there.

    The second is a shuffle of that mask within each layer.

    Raises:
        MismatchError: `like` keeps more weights of a layer than live there.
    """
    scores = _scores(request)
    if request.like is None:
        return Selection(drop_count(scores, request.mask, count=request.n_to_drop))
    request.mask.require_same_shapes(request.like.shapes, of="the mask to be like")
    arrays = {}
    for name, kept in request.like.kept_by_name.items():
        layer = Mask({name: request.mask[name]})
        if kept > layer.kept:
            raise MismatchError(f"the mask to be like keeps {kept} weights where {layer.kept} live", where=name)
        if kept == 0:
            arrays[name] = np.zeros_like(request.mask[name])
        else:
            arrays[name] = (drop_count(scores, layer, count=layer.kept - kept) if kept < layer.kept else layer)[name]
    return Selection(Mask(arrays))
