"""The decoder: the encoder turned round, with hints mixed in, ending linear.

Source: the paper, sections 4.1 and 4.2. It gives no more than "an inversed ResNet"; the rest is this project's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.errors import UsageError, did_you_mean
from ticketcli.models.encoder import Encoder
from ticketcli.models.resnet import initialise
from ticketcli.tensors.modes import evaluating
from ticketcli.tensors.seeds import generator

_LEAST_WIDTH = 8


class UpBlock(nn.Module):
    """A basic block that may first double the resolution (nearest); inner width `n_inner`, output after ReLU."""

    def __init__(self, n_in: int, n_inner: int, n_out: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.conv1 = nn.Conv2d(n_in, n_inner, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_inner)
        self.conv2 = nn.Conv2d(n_inner, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.shortcut: nn.Sequential | None = None
        if n_in != n_out:
            self.shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, h, w] -> [N, C_out, scale h, scale w]."""
        through = x if self.shortcut is None else self.shortcut(x)  # 1x1 and nearest commute: the cheap order
        if self.scale != 1:
            x, through = _enlarge(x, self.scale), _enlarge(through, self.scale)
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + through)


def _enlarge(x: Tensor, scale: int) -> Tensor:
    """Nearest upsampling, [N, C, h, w] -> [N, C, scale h, scale w]; several times faster here than `interpolate`."""
    n, c, h, w = x.shape
    return x[:, :, :, None, :, None].expand(n, c, h, scale, w, scale).reshape(n, c, h * scale, w * scale)


class Decoder(nn.Module):
    """Taps of the encoder -> the image.

    Stage k rebuilds the encoder's tap of the same resolution: the first keeps the code's, each later one upsamples
    where the encoder strided. Where a tap is a hint, what goes on is g' = (1 - t) g + t f, with f of the present
    encoder, so that gradients reach it through hints and code alike.

    Args:
        shapes: tap name -> (channels, side), first to last.
        blocks: blocks in each stage of the encoder.
        image_size: side of the image in pixels.
        hints: names of the taps that are mixed in.
        width: inner width of the blocks, as a share of the encoder's, at least 8 channels.
        draw: source of the initial values; the global generator is not touched.

    Raises:
        UsageError: a hint is no tap or is named twice, or no whole number of doublings leads to the image.
    """

    @torch.random.fork_rng(devices=[])  # torch's own first draw, which `initialise` replaces, stays in here
    def __init__(
        self,
        shapes: Mapping[str, tuple[int, int]],
        blocks: Sequence[int],
        *,
        image_size: int,
        hints: Sequence[str],
        width: float,
        draw: torch.Generator,
    ) -> None:
        super().__init__()
        for hint in hints:
            if hint not in shapes:
                raise UsageError(f"no tap '{hint}'", where="hints", hint=did_you_mean(hint, shapes))
        if len(set(hints)) != len(hints):
            raise UsageError("a hint is named twice", where="hints")
        self.hints = frozenset(hints)
        self.order = tuple(reversed(list(shapes)))
        n_in, side = shapes[self.order[0]]
        for tap, depth in zip(self.order, reversed(blocks), strict=True):
            n_out, wanted = shapes[tap]
            self.add_module(tap, self._stage(n_in, n_out, _scale(side, wanted), depth, width))
            n_in, side = n_out, wanted
        tail: list[nn.Module] = []
        while side < image_size:  # a stem that strided
            tail.append(self._stage(n_in, n_in, 2, 1, width))
            side *= 2
        if side != image_size:
            raise UsageError(
                f"cannot upsample from {shapes[self.order[-1]][1]} to {image_size} pixels", where="image_size"
            )
        self.tail = nn.Sequential(*tail)
        self.head = nn.Conv2d(n_in, 3, 3, 1, 1)
        initialise(self, draw)
        nn.init.kaiming_normal_(self.head.weight, mode="fan_in", nonlinearity="linear", generator=draw)

    @staticmethod
    def _stage(n_in: int, n_out: int, scale: int, depth: int, width: float) -> nn.Sequential:
        inner = max(_LEAST_WIDTH, round(width * n_out))
        sizes = [n_in] + [n_out] * depth
        return nn.Sequential(
            *(UpBlock(a, inner, b, scale if place == 0 else 1) for place, (a, b) in enumerate(pairwise(sizes)))
        )

    def forward(self, taps: Mapping[str, Tensor], *, t: float) -> Tensor:
        """Taps [N, C_i, h_i, w_i] -> images [N, 3, H, W] in the encoder's normalised units; `t` is the hints' share."""
        x = taps[self.order[0]]
        for tap in self.order:
            x = self.get_submodule(tap)(x)
            if tap in self.hints and t > 0:
                x = (1 - t) * x + t * taps[tap]
        image: Tensor = self.head(self.tail(x))
        return image


def _scale(side: int, wanted: int) -> int:
    if wanted % side:
        raise UsageError(f"cannot upsample from {side} to {wanted} pixels", hint="the encoder's strides must be whole")
    return wanted // side


def build_decoder(encoder: Encoder, *, image_size: int, hints: Sequence[str], width: float, seed: int) -> Decoder:
    """The mirror of `encoder`, with a seeded random draw of its weights; the encoder is left as it was.

    Raises:
        UsageError: a hint is no tap or is named twice, or the encoder's strides are not whole.
    """
    device = next(encoder.parameters()).device
    with torch.no_grad(), evaluating(encoder):
        taps = encoder.taps(torch.zeros(1, 3, image_size, image_size, device=device))
    shapes = {name: (tap.shape[1], tap.shape[2]) for name, tap in taps.items()}
    return Decoder(
        shapes,
        encoder.depths,
        image_size=image_size,
        hints=hints,
        width=width,
        draw=generator(seed, "decoder"),
    )
