"""Gradually updated networks: GUNN-15 for CIFAR, GUNN-18 for ImageNet, a small one, and any other by its description.

Source: Qiao et al., "Gradually Updated Neural Networks for Large-Scale Image Recognition", 2018, and the authors'
released networks, which these have the numbers of parameters of. GUNN-24 and Wide GUNN-18 of the paper's tables are
not here: how many layers and channels they have was not found.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.models.encoder import StagedEncoder, Tap
from ticketcli.models.folding import Normalized
from ticketcli.models.gunn_layer import GunnLayer, GunnUnit
from ticketcli.models.gunn_shape import GunnShape
from ticketcli.models.resnet import initialise


class Gunn(StagedEncoder):
    """A chain of GUNN layers with a 1x1 transition before each; its taps are the layers' outputs, without a ReLU.

    In the form for CIFAR, maps are averaged two by two behind the transitions; in that for ImageNet before them. Odd
    sides are rounded up, as a convolution of stride 2 does.

    Args:
        shape: what tells it from others.
        n_classes: outputs of the head `fc`.
        draw: source of all initial values; the global generator is not touched.
    """

    stem_names = ("conv1",)
    head_names = ("fc",)
    normalized: ClassVar = {"conv1": "bn1"}
    block_kind = "gunn"

    @torch.random.fork_rng(devices=[])  # torch's own first draw, which `initialise` replaces, stays in here
    def __init__(self, shape: GunnShape, n_classes: int, draw: torch.Generator) -> None:
        super().__init__()
        self._is_small = shape.form == "cifar"
        n_in = shape.stem
        self.conv1 = nn.Conv2d(3, n_in, *((3, 1, 1) if self._is_small else (7, 2, 3)), bias=False)
        self.bn1 = nn.BatchNorm2d(n_in)
        unit = partial(GunnUnit, projects=self._is_small)
        for number, segments in enumerate(shape.layers, 1):
            channels = sum(segments)
            self.add_module(f"transition{number}", _transition(n_in, channels))
            self.add_module(f"layer{number}", GunnLayer(channels, segments, unit))
            self.add_module(f"tap{number}", Tap())
            n_in = channels
        self.last = None if shape.last is None else _transition(n_in, shape.last)
        self.pool = nn.AvgPool2d(2, ceil_mode=True)
        self.tap_names = shape.tap_names
        self.depths = tuple(map(len, shape.layers))
        self.fc = nn.Linear(n_in if shape.last is None else shape.last, n_classes)
        initialise(self, draw)
        nn.init.zeros_(self.fc.bias)

    @property
    def facts(self) -> Mapping[str, object]:
        """The sizes of the segments of each layer, as a checkpoint tells them."""
        return {"segments": {name: list(self._layer(name).segments) for name in self.tap_names}}

    def _layer(self, name: str) -> GunnLayer:
        layer = self.get_submodule(name)
        assert isinstance(layer, GunnLayer)
        return layer

    def _states(self, x: Tensor) -> list[Tensor]:
        """Images [N, 3, H, W] -> the states behind the layers, [N, C_i, h_i, w_i]."""
        x = torch.relu_(self.bn1(self.conv1(x)))
        if not self._is_small:
            x = F.max_pool2d(x, 3, 2, 1)
        states: list[Tensor] = []
        for number, name in enumerate(self.tap_names, 1):
            if states and not self._is_small:
                x = self.pool(x)
            x = torch.relu_(self.get_submodule(f"transition{number}")(x))
            if states and self._is_small:
                x = self.pool(x)
            x = self.get_submodule(name)(x)
            states.append(x)
        return states

    def _logits(self, x: Tensor) -> Tensor:
        """The last state -> logits [N, n_classes]."""
        if self.last is not None:
            x = torch.relu_(self.last(x))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits

    @torch.random.fork_rng(devices=[])
    def new_head(self, n_classes: int, draw: torch.Generator) -> None:
        """Replace `fc` by a fresh one of `n_classes`, its bias 0 as in the first."""
        self.fc = nn.Linear(self.fc.in_features, n_classes)
        initialise(self.fc, draw)
        nn.init.zeros_(self.fc.bias)


def _transition(n_in: int, n_out: int) -> Normalized:
    return Normalized(nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out))
