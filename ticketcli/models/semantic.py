"""A class for every pixel: a small head on the levels of a feature pyramid."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.models.encoder import Encoder
from ticketcli.models.fpn import Backbone, levels_of
from ticketcli.tensors.global_draws import global_draws
from ticketcli.tensors.seeds import derive


class SemanticNet(nn.Module):
    """Images [N, 3, H, W] -> logits [N, n_classes, H, W].

    The levels of the taps are brought to the size of the finest and added; a 3x3 and a 1x1 convolution make classes of
    the sum, which is interpolated to the size of the image.

    Attributes:
        backbone: `body`, the encoder, and `fpn`.
        head: the two convolutions.

    Source: Kirillov et al., "Panoptic Feature Pyramid Networks", 2019, section 3, made light: one convolution where
    theirs has one for each halving, and no normalisation.
    """

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        channels = backbone.out_channels
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, n_classes, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits at the size of the images."""
        levels = self.backbone(images)
        finest, *others = (levels[str(place)] for place in range(len(self.backbone.taps)))
        total = finest
        for level in others:
            total = total + F.interpolate(level, size=finest.shape[2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.head(total)
        if logits.shape[2:] == images.shape[2:]:
            return logits
        return F.interpolate(logits, size=images.shape[2:], mode="bilinear", align_corners=False)


def build_semantic(encoder: Encoder, *, n_classes: int, channels: int, image_size: int, seed: int) -> SemanticNet:
    """A network for classes of pixels around an encoder.

    Args:
        encoder: becomes the network's own, with its values; its classifier is dropped.
        n_classes: of pixels, the background among them.
        channels: of the pyramid and of the head.
        image_size: that the encoder takes, in pixels a side; the images may have other sizes.
        seed: of the fresh values; the global generator is not touched.

    Raises:
        UsageError: the taps make no pyramid.
    """
    levels = levels_of(encoder, image_size)
    with global_draws(derive(seed, "semantic"), torch.device("cpu")):
        return SemanticNet(Backbone(encoder, levels, channels), n_classes)
