"""The decoder: the encoder turned round, with hints mixed in, ending linear.

Source: the paper, sections 4.1 and 4.2. It gives no more than "an inversed ResNet"; the rest is this project's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ticketcli.models.cost import tap_outlines
from ticketcli.models.encoder import BlockKind, Encoder
from ticketcli.models.folding import Normalized
from ticketcli.models.gunn_layer import UpGunn
from ticketcli.models.resnet import initialise
from ticketcli.models.table import check_hints
from ticketcli.tensors.seeds import generator

_LEAST_WIDTH = 8


class UpBlock(nn.Module):
    """A basic block that may first enlarge its input (nearest); `n_inner` channels inside, ReLU at the end."""

    normalized: ClassVar = {"conv1": "bn1", "conv2": "bn2"}

    def __init__(self, n_in: int, n_inner: int, n_out: int, enlarge: Enlarge) -> None:
        super().__init__()
        self.enlarge = enlarge
        self.conv1 = nn.Conv2d(n_in, n_inner, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_inner)
        self.conv2 = nn.Conv2d(n_inner, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.shortcut = _shortcut(n_in, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, h, w] -> [N, C_out, h', w']."""
        through = x if self.shortcut is None else self.shortcut(x)  # 1x1 and nearest commute: the cheap order
        y = torch.relu_(self.bn1(self.conv1(self.enlarge(x))))
        return torch.relu_(self.bn2(self.conv2(y)) + self.enlarge(through))


class UpBottleneck(nn.Module):
    """A bottleneck that may enlarge (nearest) before its 3x3 convolution, where the encoder's strides."""

    normalized: ClassVar = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3"}

    def __init__(self, n_in: int, n_inner: int, n_out: int, enlarge: Enlarge) -> None:
        super().__init__()
        self.enlarge = enlarge
        self.conv1 = nn.Conv2d(n_in, n_inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_inner)
        self.conv2 = nn.Conv2d(n_inner, n_inner, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_inner)
        self.conv3 = nn.Conv2d(n_inner, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.shortcut = _shortcut(n_in, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, h, w] -> [N, C_out, h', w']."""
        through = x if self.shortcut is None else self.shortcut(x)
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = torch.relu_(self.bn2(self.conv2(self.enlarge(y))))
        return torch.relu_(self.bn3(self.conv3(y)) + self.enlarge(through))


_BLOCKS: Mapping[BlockKind, type[UpBlock | UpBottleneck]] = {"basic": UpBlock, "bottleneck": UpBottleneck}
_NARROWING: Mapping[BlockKind, int] = {"basic": 1, "bottleneck": 4}  # of a GUNN layer see `UpGunn`


def _shortcut(n_in: int, n_out: int) -> nn.Sequential | None:
    if n_in == n_out:
        return None
    return Normalized(nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out))


@dataclass(frozen=True)
class Enlarge:
    """Nearest upsampling, [N, C, h, w] -> [N, C, h', w'].

    Attributes:
        scale: the whole factor, or 0 where there is none.
        side: h' = w', which counts where `scale` is 0: an encoder that strides over an odd side (15 -> 8) is answered
            by 8 -> 15, where pixel i is taken from i // 2.
    """

    scale: int
    side: int

    @classmethod
    def between(cls, side: int, wanted: int) -> Enlarge:
        """From one side in pixels to another."""
        return cls(0 if wanted % side else wanted // side, wanted)

    def __call__(self, x: Tensor) -> Tensor:
        """The enlarged map."""
        if self.scale == 1:
            return x
        if self.scale == 0:
            return F.interpolate(x, size=(self.side, self.side), mode="nearest")
        enlarged: Tensor = _Repeat.apply(x, self.scale)
        return enlarged


class _Repeat(torch.autograd.Function):
    """Nearest upsampling by a whole factor: by views, and back by sums over windows.

    Both are several times faster on a CPU than `interpolate` and than the sums that autograd makes of the views.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: int) -> Tensor:
        ctx.scale = scale
        n, c, h, w = x.shape
        if x.is_contiguous(memory_format=torch.channels_last):  # stays so: convolutions would bring it back, slowly
            last = x.permute(0, 2, 3, 1)[:, :, None, :, None].expand(n, h, scale, w, scale, c)
            return last.reshape(n, h * scale, w * scale, c).permute(0, 3, 1, 2)
        repeated = x[:, :, :, None, :, None].expand(n, c, h, scale, w, scale)
        return repeated.reshape(n, c, h * scale, w * scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return F.avg_pool2d(gradient, ctx.scale, divisor_override=1), None


class Decoder(nn.Module):
    """Taps of the encoder -> the image.

    Stage k rebuilds the encoder's tap of the same resolution: the first keeps the code's, each later one upsamples
    where the encoder strided. Where a tap is a hint, what goes on is g' = (1 - t) g + t f, with f of the present
    encoder, so that gradients reach it through hints and code alike. What the stem strided is made good at the end,
    by one block for each halving; each halves the channels, so that none costs much more than another. A stage is
    named after its tap, with `_` for the dots of timm's names.

    Args:
        shapes: tap name -> (channels, side), shallow to deep.
        depths: blocks of the stage that rebuilds each tap; of the kind `gunn`, segments of its layer.
        kind: the kind of all blocks; of `gunn`, a stage is one layer behind a 1x1 convolution.
        image_size: side of the image in pixels; where strides do not divide it, see `Enlarge`.
        hints: names of the taps that are mixed in.
        width: inner width of the blocks, as a share of the encoder's, at least 8 channels.
        draw: source of the initial values; the global generator is not touched.

    Raises:
        UsageError: a hint is no tap or is named twice.
    """

    @torch.random.fork_rng(devices=[])  # torch's own first draw, which `initialise` replaces, stays in here
    def __init__(
        self,
        shapes: Mapping[str, tuple[int, int]],
        depths: Sequence[int],
        *,
        kind: BlockKind = "basic",
        image_size: int,
        hints: Sequence[str],
        width: float,
        draw: torch.Generator,
    ) -> None:
        super().__init__()
        check_hints(hints, list(shapes))
        self.hints = frozenset(hints)
        self.order = tuple(reversed(list(shapes)))
        self.kind, self.width = kind, width
        n_in, side = shapes[self.order[0]]
        for tap, depth in zip(self.order, reversed(depths), strict=True):
            n_out, wanted = shapes[tap]
            self.add_module(_stage_name(tap), self._stage(n_in, n_out, Enlarge.between(side, wanted), depth))
            n_in, side = n_out, wanted
        tail: list[nn.Module] = []
        for wanted in _doublings(side, image_size):
            n_out = max(_LEAST_WIDTH, n_in // 2)
            tail.append(self._stage(n_in, n_out, Enlarge.between(side, wanted), depths[0] if kind == "gunn" else 1))
            n_in, side = n_out, wanted
        self.tail = nn.Sequential(*tail)
        self.head = nn.Conv2d(n_in, 3, 3, 1, 1)
        initialise(self, draw)
        nn.init.kaiming_normal_(self.head.weight, mode="fan_in", nonlinearity="linear", generator=draw)

    def _stage(self, n_in: int, n_out: int, enlarge: Enlarge, depth: int) -> nn.Sequential:
        if self.kind == "gunn":
            return nn.Sequential(UpGunn(n_in, n_out, depth, self.width, enlarge))
        inner = max(_LEAST_WIDTH, round(self.width * n_out / _NARROWING[self.kind]))
        block, stay = _BLOCKS[self.kind], Enlarge(1, enlarge.side)
        rest = (block(n_out, inner, n_out, stay) for _ in range(depth - 1))
        return nn.Sequential(block(n_in, inner, n_out, enlarge), *rest)

    def forward(self, taps: Mapping[str, Tensor], *, t: float) -> Tensor:
        """Taps [N, C_i, h_i, w_i] -> images [N, 3, H, W] in the encoder's normalised units; `t` is the hints' share."""
        x = taps[self.order[0]]
        for tap in self.order:
            x = self.get_submodule(_stage_name(tap))(x)
            if tap in self.hints and t > 0:
                x = (1 - t) * x + t * taps[tap]
        image: Tensor = self.head(self.tail(x))
        return image


def _stage_name(tap: str) -> str:
    """A module's name holds no dots."""
    return tap.replace(".", "_")


def _doublings(side: int, image_size: int) -> list[int]:
    """The sides on the way from the shallowest tap to the image: 56 -> 112, 224; 75 -> 150, 299."""
    steps = max(round(math.log2(image_size / side)), int(side != image_size))
    return [math.ceil(image_size / 2**left) for left in reversed(range(steps))]


def build_decoder(encoder: Encoder, *, image_size: int, hints: Sequence[str], width: float, seed: int) -> Decoder:
    """The mirror of `encoder`, with a seeded random draw of its weights; the encoder is left as it was.

    Raises:
        UsageError: a hint is no tap or is named twice, or the encoder does not take images of this size.
    """
    taps = tap_outlines(encoder, image_size)
    return Decoder(
        {name: (tap.shape[1], tap.shape[2]) for name, tap in taps.items()},
        encoder.depths,
        kind=encoder.block_kind,
        image_size=image_size,
        hints=hints,
        width=width,
        draw=generator(seed, "decoder"),
    )
