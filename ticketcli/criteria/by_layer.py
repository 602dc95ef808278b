"""Criteria that judge a layer by what goes into it, one layer at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ticketcli.criteria.layerwise.gram import Gram
from ticketcli.criteria.layerwise.layer import Pruned, power, prune_layer, sensitivities
from ticketcli.criteria.selection import leave
from ticketcli.recipe.criterion_config import INVERTING
from ticketcli.store.mask import BoolArray, Mask

_LEAST_POWER = 1e-300


@dataclass(frozen=True)
class Limit:
    """What decides how much of a layer falls: a count to be left, the error of a removal, or a pattern."""

    kept: int | None = None
    epsilon: float | None = None
    pattern: tuple[int, int] | None = None


@dataclass(frozen=True)
class ByLayer:
    """A criterion of `layerwise`."""

    method: str

    @property
    def adjusts(self) -> bool:
        """Whether it also gives new values to the weights that stay."""
        return self.method in INVERTING

    def scores(
        self, weight: Tensor, gram: Gram, alive: BoolArray, *, centre: bool, damping: float | None, seed: int
    ) -> Tensor:
        """float32, in the weight's shape: comparable across layers, as each is relative to what its layer gives.

        The root of the sensitivity over the mean square of the layer's output: its order, in the reach of float32.
        """
        found = sensitivities(
            weight, gram, method=self.method, alive=torch.from_numpy(alive.copy()), centre=centre, damping=damping,
            seed=seed, obc_fallback=True,
        )  # fmt: skip
        size = max(power(weight, gram.centred() if centre else gram), _LEAST_POWER)
        return (found / size).sqrt().float().cpu()

    def prune(
        self, weight: Tensor, gram: Gram, alive: BoolArray, limit: Limit, *, centre: bool, damping: float | None,
        seed: int,
    ) -> Pruned:  # fmt: skip
        """The layer after its weights have fallen; what was dead stays so."""
        return prune_layer(
            weight, gram, method=self.method, kept=limit.kept, epsilon=limit.epsilon, pattern=limit.pattern,
            alive=torch.from_numpy(alive.copy()), centre=centre, damping=damping, seed=seed, obc_fallback=True,
        )  # fmt: skip


def shared_out(scores: Mapping[str, Tensor], mask: Mask, kept: int) -> dict[str, int]:
    """How many weights each layer keeps, if `kept` of all stay in one ranking."""
    return leave(scores, mask, kept).kept_by_name


def as_array(mask: Tensor) -> BoolArray:
    """A mask's array."""
    found: BoolArray = mask.cpu().numpy().astype(np.bool_)
    return found
