"""What a channel mask saves: parameters and multiply-adds, layer by layer, without making the smaller network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ticketcli.channels.graph import ChannelGraph
from ticketcli.channels.group import cuts_of
from ticketcli.channels.masks import ChannelMasks, require_channels


@dataclass(frozen=True)
class Cost:
    """Of a layer or a network, dense and without the fallen channels.

    Attributes:
        parameters, parameters_left: BatchNorm's scale and shift count, its statistics do not.
        macs, macs_left: multiply-adds of convolutions and linear layers for one image.
    """

    parameters: int
    parameters_left: int
    macs: int
    macs_left: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.parameters + other.parameters,
            self.parameters_left + other.parameters_left,
            self.macs + other.macs,
            self.macs_left + other.macs_left,
        )

    @property
    def parameter_reduction(self) -> float:
        """Share of the parameters that is gone, in [0, 1]."""
        return 1 - self.parameters_left / self.parameters

    @property
    def mac_reduction(self) -> float:
        """Share of the multiply-adds that is gone, in [0, 1]; says nothing of speed, which has to be measured."""
        return 1 - self.macs_left / self.macs


def costs(model: nn.Module, graph: ChannelGraph, channels: ChannelMasks, macs: Mapping[str, int]) -> dict[str, Cost]:
    """The cost of every part of the network that has parameters of its own, dense and without the fallen channels.

    Args:
        model: at full width.
        graph: of the model.
        channels: which channels live.
        macs: convolution or linear layer -> its multiply-adds for one image, dense.

    Raises:
        UsageError, MismatchError: as `require_channels`.

    Source: SCOP: the first convolution of a block loses outputs, inner ones inputs and outputs, the last one inputs and
    the outputs that it would add zeros with.
    """
    require_channels(graph, channels)
    cuts = cuts_of(model, graph.groups, channels)
    rows = {name: _share(living) for masks in (cuts.rows, cuts.norms) for name, living in masks.items()}
    columns = {name: _share(living) for name, living in cuts.columns.items()}
    found = {}
    for name, part in model.named_modules():
        own = dict(part.named_parameters(recurse=False))
        if own:
            out, into = rows.get(name, (1, 1)), columns.get(name, (1, 1))
            left = {key: _left(values, out, into) for key, values in own.items()}
            total = sum(values.numel() for values in own.values())
            whole = macs.get(name, 0)
            macs_left = whole * left["weight"] // own["weight"].numel() if whole else 0
            found[name] = Cost(total, sum(left.values()), whole, macs_left)
    return found


def _share(living: Tensor) -> tuple[int, int]:
    """How many are left, of how many."""
    return int(living.sum()), len(living)


def _left(values: Tensor, out: tuple[int, int], into: tuple[int, int]) -> int:
    n = values.numel() * out[0] // out[1]
    return n * into[0] // into[1] if values.ndim > 1 else n


def total(costs: Mapping[str, Cost]) -> Cost:
    """The cost of the whole network."""
    return sum(costs.values(), Cost(0, 0, 0, 0))
