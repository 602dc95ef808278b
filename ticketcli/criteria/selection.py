"""What a criterion is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ticketcli.store.mask import Mask


@dataclass(frozen=True)
class Request:
    """What a criterion may look at.

    Attributes:
        weights: name -> the weights after the round's finetuning, in the mask's shapes.
        mask: which of them live.
        fraction: share of the living weights that has to fall, in (0, 1).
        seed: of the stage.
        like: a mask whose count in each layer is to be met; for the random control.
    """

    weights: Mapping[str, Tensor]
    mask: Mask
    fraction: float
    seed: int
    like: Mask | None = None

    @property
    def kept_after(self) -> int:
        """How many weights have to be left: exactly so many."""
        return self.like.kept if self.like is not None else self.mask.kept - round(self.fraction * self.mask.kept)


@dataclass(frozen=True)
class Selection:
    """The new mask; new weights where the criterion chooses those too; and what it has to report."""

    mask: Mask
    weights: Mapping[str, Tensor] | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
