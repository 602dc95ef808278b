"""The table of architectures: one line each; what can be pruned; a fresh head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ticketcli.errors import UsageError, did_you_mean
from ticketcli.models.resnet import ResNet, initialise
from ticketcli.tensors.seeds import generator


@dataclass(frozen=True)
class Architecture:
    """How to build a network, and the side in pixels of the images it is for."""

    build: Callable[[int, torch.Generator], ResNet]
    image_size: int
    summary: str


ARCHITECTURES: Mapping[str, Architecture] = {
    "resnet_small": Architecture(
        lambda n_classes, draw: ResNet((16, 32, 64, 128), (1, 1, 1, 1), n_classes, draw),
        32,
        "0.3 M weights, 4 stages of one block",
    ),
}


def architecture(arch: str) -> Architecture:
    """The table's row.

    Raises:
        UsageError: unknown architecture.
    """
    if arch not in ARCHITECTURES:
        raise UsageError(f"unknown architecture '{arch}'", where="arch", hint=did_you_mean(arch, ARCHITECTURES))
    return ARCHITECTURES[arch]


def build_encoder(arch: str, *, n_classes: int, seed: int) -> ResNet:
    """A network of a known architecture with a seeded random draw of its weights.

    Raises:
        UsageError: unknown architecture.
    """
    return architecture(arch).build(n_classes, generator(seed, "encoder"))


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name -> the weight of every convolution but the stem; BatchNorm and the head never.

    Source: the paper's [1], whose pruning it follows.
    """
    return {
        f"{name}.weight": part.get_parameter("weight")
        for name, part in model.named_modules()
        if isinstance(part, nn.Conv2d) and name != "conv1"
    }


def new_head(model: ResNet, n_classes: int, draw: torch.Generator) -> None:
    """Replace the classifier by a fresh one of `n_classes`."""
    with torch.random.fork_rng(devices=[]):  # the global generator is not touched
        model.fc = nn.Linear(model.fc.in_features, n_classes)
    initialise(model.fc, draw)
