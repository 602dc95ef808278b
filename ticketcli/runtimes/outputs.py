"""What of a network is run elsewhere: its logits, or the taps of its backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ticketcli.models.encoder import Encoder
from ticketcli.models.folding import folded

LOGITS = "logits"
_UNNAMED = str.maketrans({".": "_", "/": "_"})


class TapTuple(nn.Module):
    """The taps of an encoder as a tuple, shallow to deep: other runtimes know no mappings."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images [N, 3, H, W] -> taps, each [N, C_i, h_i, w_i]."""
        return tuple(self.encoder.taps(x).values())


@dataclass(frozen=True)
class Work:
    """A module from images to outputs.

    Attributes:
        module: images [N, 3, side, side] -> a tensor, or a tuple of them; in eval mode.
        names: of its outputs, in order.
        side: of its images in pixels.
        any_size: whether images of other sides will do, too.
        prefix: what stands before a parameter's name in `module`, where the network calls it otherwise.
    """

    module: nn.Module
    names: tuple[str, ...]
    side: int
    prefix: str = ""
    any_size: bool = False

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs of a batch, in order."""
        found = self.module(images)
        return found if isinstance(found, tuple) else (found,)

    def values(self) -> Mapping[str, Tensor]:
        """Parameters and buffers by the network's own names."""
        return {name.removeprefix(self.prefix): value for name, value in self.module.state_dict().items()}


def folded_last(work: Work) -> Work:
    """The same outputs but for rounding, as torch computes them soonest without a compiler.

    BatchNorms are folded into convolutions, and maps have their channels last.
    """
    module: nn.Module = folded(work.module).to(memory_format=torch.channels_last)
    return replace(work, module=module)


def logits_of(network: nn.Module, side: int) -> Work:
    """The whole network, from images to logits."""
    return Work(network.eval(), (LOGITS,), side)


def taps_of(encoder: Encoder, side: int) -> Work:
    """The backbone alone, from images of any size to taps, each an output of its name (dots become underlines)."""
    names = tuple(name.translate(_UNNAMED) for name in encoder.tap_names)
    return Work(TapTuple(encoder).eval(), names, side, prefix="encoder.", any_size=True)
