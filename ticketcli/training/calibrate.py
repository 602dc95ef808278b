"""The calibration pass: what goes into the layers of a network that stands still, summed up batch by batch."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ticketcli.criteria.layerwise.gram import Gram, GramAccumulator, gram_bytes
from ticketcli.data.series import Series
from ticketcli.errors import MismatchError
from ticketcli.tensors.modes import evaluating

Layer = nn.Conv2d | nn.Linear
Batches = Series[tuple[Tensor, Tensor]]


def layers_of(model: nn.Module, weights: Collection[str]) -> dict[str, Layer]:
    """Weight's name -> the layer that it is of, in the network's order."""
    found: dict[str, Layer] = {}
    for layer, part in model.named_modules():
        name = f"{layer}.weight"
        if name in weights:
            assert isinstance(part, nn.Conv2d | nn.Linear)
            found[name] = part
    return found


def groups_of(layers: Mapping[str, Layer], limit: int) -> list[tuple[str, ...]]:
    """The layers in their order, as many together as `limit` bytes hold; one that is too large alone is alone."""
    groups: list[tuple[str, ...]] = []
    used = 0
    for name, layer in layers.items():
        size = gram_bytes(layer)
        if groups and used + size <= limit:
            groups[-1] = (*groups[-1], name)
            used += size
        else:
            groups.append((name,))
            used = size
    return groups


@dataclass
class Moments:
    """The second moments of some layers, after so many batches and images."""

    layers: Mapping[str, Layer]
    positions: int | None
    seed: int
    done: int = 0
    seen: int = 0
    _sums: dict[str, GramAccumulator] = field(init=False)

    def __post_init__(self) -> None:
        self._sums = {
            name: GramAccumulator(layer, positions=self.positions, seed=self.seed)
            for name, layer in self.layers.items()
        }

    @property
    def n_bytes(self) -> int:
        """What they hold."""
        return sum(map(gram_bytes, self.layers.values()))

    def gram(self, name: str) -> Gram:
        """Of one layer, when all batches are in."""
        return self._sums[name].finalize()

    def state(self) -> dict[str, Any]:
        """All that `load` needs to go on; later batches do not reach it."""
        return {"done": self.done, "seen": self.seen, "sums": {name: one.state() for name, one in self._sums.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state of the same layers."""
        for name, one in self._sums.items():
            one.load(state["sums"][name])
        self.done, self.seen = int(state["done"]), int(state["seen"])

    @torch.no_grad()
    def gather(self, model: nn.Module, batches: Batches) -> Generator[Tensor, None, None]:
        """Add the batches that are not in yet, the model in eval mode; yields the network's output after each.

        Several processes all see every batch, and so come to the same sums.

        Raises:
            MismatchError: the images never reach a layer.
        """
        for images, _ in batches[self.done :]:
            reached: set[str] = set()
            with evaluating(model):
                hooks = [self._listen(name, reached) for name in self._sums]
                try:
                    logits: Tensor = model(images)
                finally:
                    for hook in hooks:
                        hook.remove()
            for name in self._sums:
                if name not in reached:
                    hint = "leave it out, or choose another criterion"
                    raise MismatchError("no image reaches this layer", where=name.removesuffix(".weight"), hint=hint)
            self.done, self.seen = self.done + 1, self.seen + len(images)
            yield logits

    def _listen(self, name: str, reached: set[str]) -> torch.utils.hooks.RemovableHandle:
        def hear(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            reached.add(name)
            self._sums[name].add(inputs[0], self.seen)

        return self.layers[name].register_forward_pre_hook(hear)
