"""What a criterion is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ticketcli.store.mask import Mask
from ticketcli.tensors.select import drop_count

Kept = int | Mapping[str, int]


@dataclass(frozen=True)
class Request:
    """What a criterion of the weights alone may look at.

    Attributes:
        weights: name -> the weights after the round's finetuning, in the mask's shapes.
        mask: which of them live.
        kept: how many have to be left, exactly: of all in one ranking, or of each layer.
        seed: of the stage.
    """

    weights: Mapping[str, Tensor]
    mask: Mask
    kept: Kept
    seed: int


def leave(scores: Mapping[str, Tensor], mask: Mask, kept: Kept) -> Mask:
    """The living weights with the largest scores: as many as there are to be, of all or of each layer.

    Args:
        scores: name -> float32 tensor of the mask's shape, compared by magnitude; ties fall in the order (name, index).
        mask: which weights live.
        kept: fewer than live, of all; or for each layer no more than live there.
    """
    if isinstance(kept, int):
        return drop_count(scores, mask, count=mask.kept - kept)
    arrays = {}
    for name, n_kept in kept.items():
        layer = Mask({name: mask[name]})
        if n_kept == 0:
            arrays[name] = np.zeros_like(mask[name])
        else:
            fall = n_kept < layer.kept
            arrays[name] = (drop_count(scores, layer, count=layer.kept - n_kept) if fall else layer)[name]
    return Mask(arrays)
