"""Random: the control that keeps nothing of a ticket but, at most, how many weights each layer has."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ticketcli.criteria.selection import Request, leave
from ticketcli.store.mask import Mask
from ticketcli.tensors.seeds import derive, uniforms


def _scores(request: Request) -> dict[str, Tensor]:
    """A fixed uniform score for every weight, by seed and name: rounds of one seed are nested by construction."""
    scores = {}
    for name, array in request.mask.items():
        draws = uniforms(derive(request.seed, f"random/{name}"), np.arange(array.size, dtype=np.uint64))
        scores[name] = torch.from_numpy(draws.astype(np.float32)).reshape(array.shape)
    return scores


def random(request: Request) -> Mask:
    """Drop weights at random: uniformly, or so that each layer keeps its count.

    With the counts of another mask the second is a shuffle of that mask within each layer.
    """
    return leave(_scores(request), request.mask, request.kept)
