"""`Backbone`: an encoder and a feature pyramid on its taps, as torchvision's detectors have them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from ticketcli.errors import UsageError
from ticketcli.models.cost import tap_outlines
from ticketcli.models.encoder import Encoder
from ticketcli.models.freezing import N_LEVELS

PADDED = 32  # pixels that the sides of a batch of images are multiples of


@dataclass(frozen=True)
class Level:
    """A tap that a pyramid stands on: its name, its channels, and the pixels of the image to one of its own."""

    tap: str
    channels: int
    stride: int


def levels_of(encoder: Encoder, image_size: int) -> tuple[Level, ...]:
    """The taps that a pyramid stands on: the deepest four (C2 to C5), or all where there are fewer.

    Args:
        encoder: the backbone.
        image_size: that it takes, in pixels a side.

    Raises:
        UsageError: their strides are not powers of two, each twice the one before.
    """
    seen = math.ceil(image_size / PADDED) * PADDED  # images come padded, so that no tap is rounded
    outlines = tap_outlines(encoder, seen)
    levels = []
    for name in encoder.tap_names[-N_LEVELS:]:
        _, channels, _, side = outlines[name].shape
        levels.append(Level(name, channels, round(seen / side)))
    strides = [level.stride for level in levels]
    if any(stride != strides[0] << place for place, stride in enumerate(strides)) or strides[0].bit_count() != 1:
        raise UsageError(
            f"a feature pyramid needs strides that double; this net's are {', '.join(map(str, strides))}",
            where="arch",
            hint="choose a net that halves its resolution from stage to stage",
        )
    return tuple(levels)


class Backbone(nn.Module):
    """Images [N, 3, H, W] -> levels `0`, `1` ... and `pool`, fine to coarse, each [N, channels, h_i, w_i].

    The last is every second pixel of the one before. The encoder becomes `body`, and its classifier is dropped.

    Args:
        encoder: the network below.
        levels: from `levels_of`.
        channels: of every level.

    Source: Lin et al., "Feature Pyramid Networks for Object Detection", 2017; names and initial values as in
    torchvision, whose global draws the caller has to see to.
    """

    def __init__(self, encoder: Encoder, levels: tuple[Level, ...], channels: int) -> None:
        super().__init__()
        encoder.drop_head()
        self.body = encoder
        self.fpn = FeaturePyramidNetwork([level.channels for level in levels], channels, LastLevelMaxPool())
        self.taps = tuple(level.tap for level in levels)
        self.strides = (*(level.stride for level in levels), 2 * levels[-1].stride)
        self.out_channels = channels  # torchvision asks for it by this name

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The levels by name."""
        found = self.body.taps(images)
        levels: dict[str, Tensor] = self.fpn({str(place): found[tap] for place, tap in enumerate(self.taps)})
        return levels
