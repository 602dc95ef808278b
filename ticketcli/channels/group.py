"""`ChannelGroup`: channels that fall together with what writes and what reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Consumer:
    """A layer that reads the channels: input first + c of a convolution, or k columns for each of a linear layer.

    Attributes:
        name: of a `Conv2d` of one group or a `Linear`.
        columns: k, the inputs that each channel has there.
        first: where the group's channels begin among those that it reads.
    """

    name: str
    columns: int = 1
    first: int = 0


@dataclass(frozen=True)
class Rows:
    """Rows of a convolution, and of the BatchNorm that alone reads it, that write the channels: from `first` on."""

    conv: str
    norm: str
    first: int = 0


@dataclass(frozen=True)
class Segment:
    """A segment of a layer that says its segments' sizes: the layer's name, and which of them."""

    layer: str
    place: int


@dataclass(frozen=True)
class Tapped:
    """A module behind which all channels are needed, those that fell as zeros; the group's begin at `first`."""

    name: str
    first: int = 0


@dataclass(frozen=True)
class ChannelGroup:
    """The output channels of one convolution, and what falls with them.

    Attributes:
        conv: name of the `Conv2d`, of one group.
        norm: name of the BatchNorm that alone reads it.
        channels: how many there are.
        consumers: whose inputs fall with them; none where `joins_sum`.
        joins_sum: something needs all channels: a residual sum, a concatenation, a tap, or an operation that is not
            known to keep channels apart. Then only rows fall, and what is left is scattered into zeros.
        also: further convolutions that write the same channels, whose rows fall with them; see `coupling`.
        segment: whose size is the number of the channels.
        taps: where the channels are read at full width.
    """

    conv: str
    norm: str
    channels: int
    consumers: tuple[Consumer, ...]
    joins_sum: bool
    also: tuple[Rows, ...] = ()
    segment: Segment | None = None
    taps: tuple[Tapped, ...] = ()

    @property
    def producers(self) -> tuple[Rows, ...]:
        """All that write the channels, the convolution itself first."""
        return (Rows(self.conv, self.norm), *self.also)

    @property
    def falls_from_a_sum(self) -> bool:
        """Whether these are the channels of a residual sum, which fall from all that is added."""
        return bool(self.also) and self.segment is None


@dataclass(frozen=True)
class Cuts:
    """What is left of each layer where some channels have fallen: bool masks over all that it has.

    Attributes:
        rows: convolution -> its outputs.
        norms: BatchNorm -> its channels.
        columns: convolution or linear layer -> its inputs.
        taps: module -> the channels that go through it.
        sizes: layer -> place of a segment -> its size.
    """

    rows: dict[str, Tensor]
    norms: dict[str, Tensor]
    columns: dict[str, Tensor]
    taps: dict[str, Tensor]
    sizes: dict[str, dict[int, int]]


def cuts_of(model: nn.Module, groups: tuple[ChannelGroup, ...], channels: Mapping[str, Tensor]) -> Cuts:
    """What channel masks leave of a network's layers; layers of which nothing falls are not in it.

    Args:
        model: of which the layers' sizes are taken.
        groups: of the model.
        channels: convolution of a group -> bool [C].
    """
    cuts = Cuts({}, {}, {}, {}, {})
    states: dict[str, int] = {}  # tap -> channels before it
    for group in groups:
        for tap in group.taps:
            states[tap.name] = max(states.get(tap.name, 0), tap.first + group.channels)
    for group in groups:
        living = channels.get(group.conv)
        if living is None or bool(living.all()):
            continue
        for rows in group.producers:
            n = _size(model, rows.conv, "out_channels")
            _leave(cuts.rows, rows.conv, n, rows.first, living)
            _leave(cuts.norms, rows.norm, n, rows.first, living)
        for reader in group.consumers:
            n = _size(model, reader.name, "in_channels", "in_features")
            each = living.repeat_interleave(reader.columns)
            _leave(cuts.columns, reader.name, n, reader.first * reader.columns, each)
        for tap in group.taps:
            _leave(cuts.taps, tap.name, states[tap.name], tap.first, living)
        if group.segment is not None:
            cuts.sizes.setdefault(group.segment.layer, {})[group.segment.place] = int(living.sum())
    return cuts


def _leave(masks: dict[str, Tensor], name: str, n: int, first: int, living: Tensor) -> None:
    masks.setdefault(name, torch.ones(n, dtype=torch.bool))[first : first + len(living)] &= living


def _size(model: nn.Module, name: str, *attributes: str) -> int:
    module = model.get_submodule(name)
    return next(int(getattr(module, one)) for one in attributes if hasattr(module, one))
