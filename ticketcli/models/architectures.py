"""The table of architectures: one line each; and which of a network's weights can be pruned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import nn

from ticketcli.errors import MismatchError, UsageError, did_you_mean
from ticketcli.models import gunn_shape, timm_encoder
from ticketcli.models.encoder import Encoder
from ticketcli.models.gunn import Gunn
from ticketcli.models.lenet import LeNet5, LeNet300
from ticketcli.models.resnet import ResNet, Shape
from ticketcli.models.vgg import VGG
from ticketcli.store.mask import Mask
from ticketcli.tensors.seeds import generator

SMALL_STEM = "_3x3"


@dataclass(frozen=True)
class Architecture:
    """How to build a network, and the side in pixels of the images it is for."""

    build: Callable[[int, torch.Generator], Encoder]
    image_size: int


def _resnet(shape: Shape, image_size: int) -> Architecture:
    return Architecture(lambda n_classes, draw: ResNet(shape, n_classes, draw), image_size)


def _table() -> dict[str, Architecture]:
    small = Shape((1, 1, 1, 1), (16, 32, 64, 128), stem=3)
    table = {"resnet_small": _resnet(small, 32)}
    imagenet = {
        "resnet18": Shape((2, 2, 2, 2)),
        "resnet34": Shape((3, 4, 6, 3)),
        "resnet50": Shape((3, 4, 6, 3), block="bottleneck"),
        "resnet101": Shape((3, 4, 23, 3), block="bottleneck"),
        "resnet152": Shape((3, 8, 36, 3), block="bottleneck"),
    }
    table |= {name: _resnet(shape, 224) for name, shape in imagenet.items()}
    table |= {name + SMALL_STEM: _resnet(replace(shape, stem=3), 32) for name, shape in imagenet.items()}
    for depth in (20, 32, 44, 56):
        cifar = Shape(3 * ((depth - 2) // 6,), (16, 32, 64), stem=3, shortcut="padding")
        table[f"resnet{depth}"] = _resnet(cifar, 32)
    return table | _chains() | _gunns()


def _chains() -> dict[str, Architecture]:
    """Nets without shortcuts, which papers on pruning are measured by."""
    return {
        "lenet300": Architecture(LeNet300, 32),
        "lenet5": Architecture(LeNet5, 32),
        "vgg16": Architecture(VGG, 224),
        "vgg16_bn": Architecture(partial(VGG, normalized=True), 224),
    }


def _gunns() -> dict[str, Architecture]:
    """Networks whose layers are renewed a segment at a time."""
    return {name: _gunn(description) for name, description in gunn_shape.NAMED.items()}


def _gunn(description: str) -> Architecture:
    shape = gunn_shape.parse_shape(description)
    return Architecture(lambda n_classes, draw: Gunn(shape, n_classes, draw), shape.image_size)


ARCHITECTURES: Mapping[str, Architecture] = _table()


def known_names() -> list[str]:
    """What can be written for an architecture, for hints."""
    return [*ARCHITECTURES, f"{gunn_shape.PREFIX}DESCRIPTION", f"{timm_encoder.PREFIX}NAME"]


def architecture(arch: str) -> Architecture:
    """The architecture of this name: one of the table, `gunn:DESCRIPTION`, or `timm:NAME`.

    Raises:
        UsageError: unknown architecture, a description that makes no network, or timm is not installed.
    """
    if arch.startswith(gunn_shape.PREFIX):
        return _gunn(arch.removeprefix(gunn_shape.PREFIX))
    if arch.startswith(timm_encoder.PREFIX):
        name = arch.removeprefix(timm_encoder.PREFIX)
        size = timm_encoder.image_size_of(name)
        return Architecture(lambda n_classes, draw: timm_encoder.TimmEncoder(name, n_classes, draw), size)
    if arch not in ARCHITECTURES:
        raise UsageError(f"unknown architecture '{arch}'", where="arch", hint=did_you_mean(arch, known_names()))
    return ARCHITECTURES[arch]


def build_encoder(arch: str, *, n_classes: int, seed: int) -> Encoder:
    """A network of a known architecture with a seeded random draw of its weights.

    Raises:
        UsageError: unknown architecture.
    """
    return architecture(arch).build(n_classes, generator(seed, "encoder"))


def prunable(model: Encoder, what: Literal["auto", "weights"] = "auto") -> dict[str, nn.Parameter]:
    """Name -> weight matrix that pruning may thin out; BatchNorm, biases and embeddings never.

    Args:
        model: the network.
        what: `weights`: every convolution and linear layer; `auto`: those but the stem and the head, which in a ResNet
            leaves every convolution but the stem, as in the paper's [1].
    """
    spared = () if what == "weights" else (*model.stem_names, *model.head_names)
    return {
        f"{name}.weight": part.get_parameter("weight")
        for name, part in model.named_modules()
        if isinstance(part, (nn.Conv2d, nn.Linear)) and not _within(name, spared)
    }


def _within(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def masked_parameters(model: nn.Module, mask: Mask) -> dict[str, nn.Parameter]:
    """Name -> parameter, for each that the mask names: what was pruned, whatever could have been.

    Raises:
        MismatchError: the network lacks one, or its shape differs; names it.
    """
    own = dict(model.named_parameters())
    for name, shape in mask.shapes.items():
        if name not in own:
            raise MismatchError(
                f"the mask is about '{name}', which the network has not",
                where=name,
                hint="use a mask made for this architecture",
            )
        if tuple(own[name].shape) != tuple(shape):
            raise MismatchError(f"the mask is {tuple(shape)}, the network's is {tuple(own[name].shape)}", where=name)
    return {name: own[name] for name in mask}
