"""A target in a traced network: which node is read, and how its value becomes one number an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, fx

from ticketcli.errors import UsageError, did_you_mean
from ticketcli.explain.targets import ClassTarget, Target
from ticketcli.explain.tracing import Traced


class Score(Protocol):
    """What is maximised, for each image of a batch: an affine function of a node's value."""

    @property
    def node(self) -> fx.Node:
        """Whose value is read."""

    def of(self, value: Tensor) -> Tensor:
        """The node's value [N, ...] -> [N]."""

    def only(self, rows: Tensor) -> Score:
        """The same for some images, int64 [n]."""


@dataclass(frozen=True)
class LogitScore:
    """One logit of each image."""

    node: fx.Node
    classes: Tensor  # int64 [N]

    def of(self, value: Tensor) -> Tensor:
        """Logits [N, n_classes] -> [N].

        Raises:
            UsageError: they are no logits, or have no such class.
        """
        if value.dim() != 2 or len(value) != len(self.classes):
            raise UsageError(
                f"the network returns {tuple(value.shape)}; a class needs logits [N, n_classes]", where="its output",
                hint="a loss is no target; let the network return its logits",
            )  # fmt: skip
        lowest, highest = int(self.classes.min()), int(self.classes.max())
        if lowest < 0 or highest >= value.shape[1]:
            what = f"no class {lowest if lowest < 0 else highest} among {value.shape[1]}"
            raise UsageError(what, where="target", hint=f"classes are numbered from 0 to {value.shape[1] - 1}")
        return value.gather(1, self.classes[:, None]).squeeze(1)

    def only(self, rows: Tensor) -> LogitScore:
        """The same for some images."""
        return LogitScore(self.node, self.classes[rows])


@dataclass(frozen=True)
class UnitScore:
    """One unit, or the sum of a channel; the same in every image."""

    node: fx.Node
    channel: int
    place: tuple[int, int] | None

    def of(self, value: Tensor) -> Tensor:
        """Maps [N, C, H, W], or vectors [N, C] -> [N].

        Raises:
            UsageError: there is no such unit.
        """
        index = (self.channel, *(self.place or ()))
        sides = tuple(value.shape[1:])
        if (
            value.dim() < 2
            or (self.place and len(sides) != 3)
            or not all(0 <= one < side for one, side in zip(index, sides, strict=False))
        ):
            hint = "channel, row and column are numbered from 0; vectors have neither row nor column"
            raise UsageError(f"no unit {index} among {sides}", where=f"target, in {self.node.name}", hint=hint)
        return (
            value[(slice(None), *index)].flatten(1).sum(1)
            if value.dim() > len(index) + 1
            else value[(slice(None), *index)]
        )

    def only(self, rows: Tensor) -> UnitScore:
        """The same."""
        return self


@dataclass(frozen=True)
class ChosenScore:
    """The sum of chosen units, image by image."""

    node: fx.Node
    chosen: Tensor  # bool, of the shape of the node's value

    def of(self, value: Tensor) -> Tensor:
        """[N, ...] -> [N]."""
        return (value * self.chosen).flatten(1).sum(1)

    def only(self, rows: Tensor) -> ChosenScore:
        """The same for some images."""
        return ChosenScore(self.node, self.chosen[rows])


def score_of(network: Traced, target: Target, n: int) -> Score:
    """The score that a target stands for, in a batch of n images.

    Raises:
        UsageError: another number of classes, or a layer that is not there or not affine in the last gates.
    """
    if isinstance(target, ClassTarget):
        classes = target.classes
        if classes.shape != (n,) or classes.dtype != torch.int64:
            what = f"{tuple(classes.shape)} of {classes.dtype}"
            raise UsageError(f"{n} images need as many classes, int64; these are {what}", where="target")
        return LogitScore(network.output, classes)
    if (target.row is None) != (target.column is None):
        raise UsageError("a place is a row and a column", where="target", hint="name both, or neither for the sum")
    place = None if target.row is None or target.column is None else (target.row, target.column)
    return UnitScore(node_before_relu(network, target.layer), target.channel, place)


def node_before_relu(network: Traced, layer: str) -> fx.Node:
    """What a gate's ReLU reads, or what a part returns; where a ReLU returns that, what the ReLU reads.

    Raises:
        UsageError: no such gate or part, or nothing of the image reaches it, or it ends in a max-pool.
    """
    by_gate = {gate.name: gate.node for gate in network.gates}
    node = by_gate.get(layer) or network.returned.get(layer)
    if node is None or node not in network.dependent:
        hint = did_you_mean(layer, [*by_gate, *network.returned])
        raise UsageError(f"no layer '{layer}' whose units could be a target", where="target", hint=hint)
    while network.kinds[node] == "relu":
        node = node.all_input_nodes[0]
    if network.kinds[node] == "pool":
        raise UsageError(
            f"'{layer}' ends in a max-pool, which is not affine in the gates before it", where="target",
            hint="name the layer before the max-pool",
        )  # fmt: skip
    return node
