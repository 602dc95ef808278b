"""Gradually updated layers: a state of N channels, whose segments are renewed one after another.

Each unit reads the whole state as the units before it have left it, and adds to its own segment alone; so one layer
of S segments is as deep as S residual blocks, at the price of about one. With one segment it is a residual block.

Source: Qiao et al., "Gradually Updated Neural Networks for Large-Scale Image Recognition", 2018, section 3; the units
as in the authors' released networks. No ReLU follows the sum, so a state may be negative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ticketcli.errors import UsageError
from ticketcli.models.folding import Normalized
from ticketcli.models.gunn_shape import equal_segments, near_equal_segments
from ticketcli.models.shared_state import SharedState

MakeUnit = Callable[[int, int], nn.Module]  # channels of the state, channels of the segment -> what updates it


class GunnUnit(nn.Module):
    """What is added to a segment: [N, C, h, w] -> [N, c, h, w]; 1x1, 3x3 and 1x1 convolutions, each with BatchNorm.

    Args:
        channels: C, of the state.
        size: c, of the segment.
        projects: a 1x1 convolution of the state with BatchNorm is added, as in the networks for CIFAR.
        inner: channels between the convolutions; None for 2 c, as published.
    """

    normalized: ClassVar = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3"}
    projection: Normalized | None

    def __init__(self, channels: int, size: int, *, projects: bool = False, inner: int | None = None) -> None:
        super().__init__()
        width = 2 * size if inner is None else inner
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, size, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(size)
        self.projection = None
        if projects:
            self.projection = Normalized(nn.Conv2d(channels, size, 1, bias=False), nn.BatchNorm2d(size))

    def forward(self, x: Tensor) -> Tensor:
        """The update of the segment; no ReLU at its end."""
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = torch.relu_(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        found: Tensor = y if self.projection is None else y + self.projection(x)
        return found


class GunnLayer(nn.Module):
    """A state [N, C, h, w] -> the same shape, each segment updated in turn.

    ``y_i = x_i + F_i([y_1, ..., y_(i-1), x_i, ..., x_S])``, where x_i are the segments of the state and F_i the units.

    All states share one memory, so that it does not grow with the number of segments; values and gradients are the
    same to the bit, see `SharedState`. `keeps_copies` is the plain way, with a copy of the state for every unit.

    Args:
        channels: C.
        segments: how many of them, or their sizes, which need not be equal.
        unit: makes what updates a segment.

    Raises:
        UsageError: the channels do not divide into so many equal segments, or sizes do not add up to them.

    Attributes:
        segments: sizes of the segments, in order; explicit, because pruning leaves unequal ones.
        couples_channels: a channel of the state is one channel to all who write or read it, so it falls as one.
    """

    couples_channels: ClassVar = True

    def __init__(self, channels: int, segments: int | Sequence[int], unit: MakeUnit = GunnUnit) -> None:
        super().__init__()
        self.segments = equal_segments(channels, segments) if isinstance(segments, int) else tuple(segments)
        if sum(self.segments) != channels or min(self.segments, default=0) < 1:
            sizes = "+".join(map(str, self.segments))
            raise UsageError(f"segments of {sizes} channels do not make {channels}", where="segments")
        self.units = nn.ModuleList(unit(channels, size) for size in self.segments)
        self.keeps_copies = False

    def forward(self, x: Tensor) -> Tensor:
        """The state after all updates."""
        split = torch.split(x, list(self.segments), dim=1)
        pieces = [split[place] for place in range(len(self.segments))]  # a traced tensor cannot be iterated over
        shared = self._shared(x)
        for place, unit in enumerate(self.units):
            if shared is None:
                pieces[place] = pieces[place] + unit(torch.cat(pieces, dim=1))
            else:
                with shared.state(pieces) as state:
                    update = unit(state)
                pieces[place] = pieces[place] + update
                shared.update(pieces[place])
        return torch.cat(pieces, dim=1)

    def resize(self, segments: Sequence[int]) -> None:
        """Take other sizes; the units' weights have to follow, which is the caller's work."""
        assert len(segments) == len(self.segments)
        self.segments = tuple(segments)

    def _shared(self, x: Tensor) -> SharedState | None:
        """The one memory of all states; None where they are copied: asked to, traced, compiled, or without values."""
        if self.keeps_copies or type(x) is not Tensor or x.is_meta or torch.compiler.is_compiling():
            return None
        device = x.device.type
        lowered = torch.is_autocast_enabled(device)  # convolutions then compute in smaller numbers
        return SharedState(x, self.segments, torch.get_autocast_dtype(device) if lowered else x.dtype)

    def extra_repr(self) -> str:
        """The sizes that printing the network shows."""
        return f"segments={'+'.join(map(str, self.segments))}"


class UpGunn(nn.Module):
    """A stage of the mirrored network: 1x1 convolution, BatchNorm, ReLU, nearest enlargement, and a GUNN layer.

    Where the encoder averages two by two pixels, this repeats them. The 1x1 convolution comes first: both orders give
    the same, and this one costs less.

    Args:
        n_in, n_out: channels.
        segments: at most; sizes are as equal as can be.
        width: of the units' inner channels, as a share of the encoder's two for one, at least 1 channel.
        enlarge: [N, C, h, w] -> [N, C, h', w'].
    """

    def __init__(self, n_in: int, n_out: int, segments: int, width: float, enlarge: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.enlarge = enlarge
        self.transition = Normalized(nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out))

        def unit(channels: int, size: int) -> nn.Module:
            return GunnUnit(channels, size, inner=max(1, round(2 * size * width)))

        self.layer = GunnLayer(n_out, near_equal_segments(n_out, segments), unit)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, h, w] -> [N, C_out, h', w']."""
        found: Tensor = self.layer(self.enlarge(torch.relu_(self.transition(x))))
        return found
