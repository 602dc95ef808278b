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
        kept_after: how many weights have to be left: exactly so many.
        seed: of the stage.
        like: a mask whose count in each layer is to be met; for the random control.
    """

    weights: Mapping[str, Tensor]
    mask: Mask
    kept_after: int
    seed: int
    like: Mask | None = None

    @property
    def n_to_drop(self) -> int:
        """How many weights have to fall."""
        return self.mask.kept - self.kept_after


@dataclass(frozen=True)
class Selection:
    """The new mask; new weights where the criterion chooses those too; and what it has to report."""

    mask: Mask
    weights: Mapping[str, Tensor] | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
