"""VGG-16, with and without BatchNorm, under torchvision's parameter names, with taps.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015
(configuration D); names, initial values and the place of the dropout as torchvision has them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ticketcli.models.encoder import Encoder
from ticketcli.models.resnet import initialise

_WIDTHS = (64, 128, 256, 512, 512)
_DEPTHS = (2, 2, 3, 3, 3)
_UNITS = 4096
_SIDE = 7  # of the last map where the image has 224 pixels; of others it is averaged or repeated to be so


class VGG(Encoder):
    """Thirteen 3x3 convolutions in five stages, a max-pool behind each, and three linear layers.

    Its taps are the five pooled maps, called as the pools: `features.4` (half the image's side) to `features.30`.
    While it trains, half the units behind both hidden linear layers are dropped, which the training loop keeps
    reproducible. With 1000 classes it has 138,357,544 parameters, of which nine tenths are linear.

    Args:
        n_classes: outputs of the head `classifier.6`.
        draw: source of all initial values; the global generator is not touched.
        normalized: with BatchNorm behind every convolution, as torchvision's `vgg16_bn`.
    """

    block_kind = "basic"
    depths = _DEPTHS
    stem_names = ("features.0",)
    head_names = ("classifier.6",)

    @torch.random.fork_rng(devices=[])  # torch's own first draw, which is replaced, stays in here
    def __init__(self, n_classes: int, draw: torch.Generator, *, normalized: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(*_features(normalized))
        if normalized:  # each convolution is followed by the BatchNorm that alone reads it
            self.features.normalized = {  # type: ignore[assignment]
                str(place): str(place + 1) for place, part in enumerate(self.features) if isinstance(part, nn.Conv2d)
            }
        self.avgpool = nn.AdaptiveAvgPool2d((_SIDE, _SIDE))
        self.classifier = nn.Sequential(
            nn.Linear(_WIDTHS[-1] * _SIDE * _SIDE, _UNITS), nn.ReLU(), nn.Dropout(),
            nn.Linear(_UNITS, _UNITS), nn.ReLU(), nn.Dropout(),
            nn.Linear(_UNITS, n_classes),
        )  # fmt: skip
        self.tap_names = tuple(
            f"features.{place}" for place, part in enumerate(self.features) if isinstance(part, nn.MaxPool2d)
        )
        initialise(self.features, draw)
        for part in self.classifier:
            _initialise_linear(part, draw)

    def taps_and_logits(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Images [N, 3, H, W], 32 pixels a side or more -> the pooled maps, in order; and logits [N, n_classes]."""
        taps: dict[str, Tensor] = {}
        for place, part in enumerate(self.features):
            x = part(x)
            if f"features.{place}" in self.tap_names:
                taps[f"features.{place}"] = x
        logits: Tensor = self.classifier(self.avgpool(x).flatten(1))
        return taps, logits

    @torch.random.fork_rng(devices=[])
    def new_head(self, n_classes: int, draw: torch.Generator) -> None:
        """Replace `classifier.6` by a fresh one of `n_classes`."""
        self.classifier[-1] = nn.Linear(_UNITS, n_classes)
        _initialise_linear(self.classifier[-1], draw)


def _features(normalized: bool) -> Iterator[nn.Module]:
    n_in = 3
    for width, depth in zip(_WIDTHS, _DEPTHS, strict=True):
        for _ in range(depth):
            yield nn.Conv2d(n_in, width, 3, 1, 1)
            if normalized:
                yield nn.BatchNorm2d(width)
            yield nn.ReLU()
            n_in = width
        yield nn.MaxPool2d(2)


def _initialise_linear(part: nn.Module, draw: torch.Generator) -> None:
    """Deviation 0.01 and no bias, as torchvision draws them."""
    if isinstance(part, nn.Linear):
        nn.init.normal_(part.weight, 0.0, 0.01, generator=draw)
        nn.init.zeros_(part.bias)
