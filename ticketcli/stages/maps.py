"""Where a network looks: the maps that each method makes of a batch of images and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ticketcli.explain.baselines import BASELINES
from ticketcli.explain.maps import energy_map
from ticketcli.explain.search import Feedback, GatedNetwork
from ticketcli.explain.targets import ClassTarget

# Method of feedback -> the search's mode, and its guard.
SEARCHES: Mapping[str, tuple[Literal["fr", "fsp", "fsp-fr"], Literal["backtrack", "none"]]] = {
    "fr": ("fr", "backtrack"),
    "fsp": ("fsp", "backtrack"),
    "fsp-unguarded": ("fsp", "none"),
    "fsp-fr": ("fsp-fr", "backtrack"),
    "fsp-fr-unguarded": ("fsp-fr", "none"),
}
BLIND = ("centre", "whole")  # they see no image; what they reach, the set gives away


@dataclass(frozen=True)
class Searching:
    """How gates are searched for, as `GatedNetwork.search` takes it: sweeps, thresholds, and where FSP hands over."""

    sweeps: int
    ratio: float
    border: bool
    fsp_ratio: float | None = None
    middle: str | None = None


@dataclass(frozen=True)
class Looked:
    """Method -> maps float32 [N, H, W] in 0..1 on the CPU, and of methods with gates what their search found."""

    maps: dict[str, Tensor]
    feedback: dict[str, Feedback]


class Looker:
    """A network in eval mode, its gates made once.

    Raises:
        UsageError: a method needs gates, and the network has operations that allow none.
    """

    def __init__(self, network: nn.Module, methods: Sequence[str], searching: Searching) -> None:
        self.network, self.methods, self.searching = network, tuple(methods), searching
        self._gated = GatedNetwork(network) if any(method in SEARCHES for method in methods) else None

    def look(self, images: Tensor, classes: Tensor) -> Looked:
        """Maps of the class int64 [N] of each image [N, 3, H, W]."""
        target, maps, feedback = ClassTarget(classes), {}, {}
        for method in self.methods:
            if method in SEARCHES:
                assert self._gated is not None
                mode, guard = SEARCHES[method]
                how = self.searching
                found = feedback[method] = self._gated.search(
                    images, target, mode=mode, max_sweeps=how.sweeps, ratio=how.ratio, border=how.border, guard=guard,
                    middle=how.middle, fsp_ratio=how.fsp_ratio,
                )  # fmt: skip
                maps[method] = energy_map(found.input_gradient)
            elif method in BLIND:
                maps[method] = _blind(method, images)
            else:
                maps[method] = BASELINES[method](self.network, images, target)
        return Looked({method: map_.detach().float().cpu() for method, map_ in maps.items()}, feedback)


def _blind(method: str, images: Tensor) -> Tensor:
    """`whole`: 1 everywhere. `centre`: falls to 0 towards the edges, so that a threshold is the size of a box."""
    n, _, height, width = images.shape
    if method == "whole":
        return torch.ones(n, height, width)
    away = [((torch.arange(side) + 0.5) / side * 2 - 1).abs() for side in (height, width)]
    return (1 - torch.maximum(away[0][:, None], away[1][None, :])).expand(n, height, width)
