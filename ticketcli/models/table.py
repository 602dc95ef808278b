"""The table of architectures: one line each. What is known of a network by its name; loads nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING

from ticketcli.errors import UsageError, did_you_mean
from ticketcli.models import gunn_shape
from ticketcli.models.resnet_shape import Shape
from ticketcli.naming import PACKED
from ticketcli.recipe.configs import ImportConfig

if TYPE_CHECKING:
    import torch

    from ticketcli.models.encoder import Encoder

TIMM = "timm:"  # begins the names of architectures that are timm's
SMALL_STEM = "_3x3"


Build = Callable[["int", "torch.Generator"], "Encoder"]


@dataclass(frozen=True)
class Architecture:
    """How to build a network, the side in pixels of the images it is for, and its taps, None until it is built."""

    build: Build
    image_size: int
    tap_names: tuple[str, ...] | None = None


def _late(where: str, *shape: object, **settings: object) -> Build:
    """Builds with a class that is named ``module:Class``, so that names can be looked up without loading torch."""

    def build(n_classes: int, draw: torch.Generator) -> Encoder:
        module, _, name = where.partition(":")
        made: Encoder = getattr(import_module(f"ticketcli.models.{module}"), name)(*shape, n_classes, draw, **settings)
        return made

    return build


def _resnet(shape: Shape, image_size: int) -> Architecture:
    return Architecture(_late("resnet:ResNet", shape), image_size, shape.tap_names)


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
        "lenet300": Architecture(_late("lenet:LeNet300"), 32),
        "lenet5": Architecture(_late("lenet:LeNet5"), 32),
        "vgg16": Architecture(_late("vgg:VGG"), 224),
        "vgg16_bn": Architecture(_late("vgg:VGG", normalized=True), 224),
    }


def _gunns() -> dict[str, Architecture]:
    """Networks whose layers are renewed a segment at a time."""
    return {name: _gunn(description) for name, description in gunn_shape.NAMED.items()}


def _gunn(description: str) -> Architecture:
    shape = gunn_shape.parse_shape(description)
    return Architecture(_late("gunn:Gunn", shape), shape.image_size, shape.tap_names)


ARCHITECTURES: Mapping[str, Architecture] = _table()


def known_names() -> list[str]:
    """What can be written for an architecture, for hints."""
    return [*ARCHITECTURES, f"{gunn_shape.PREFIX}DESCRIPTION", f"{TIMM}NAME"]


def architecture(arch: str) -> Architecture:
    """The architecture of this name: one of the table, `gunn:DESCRIPTION`, or `timm:NAME`.

    Raises:
        UsageError: unknown architecture, a description that makes no network, or timm is not installed.
    """
    if arch.startswith(TIMM):
        from ticketcli.models.timm_encoder import image_size_of

        name = arch.removeprefix(TIMM)
        return Architecture(_late("timm_encoder:TimmEncoder", name), image_size_of(name))
    return _own(arch)


def _own(arch: str) -> Architecture:
    if arch.startswith(gunn_shape.PREFIX):
        return _gunn(arch.removeprefix(gunn_shape.PREFIX))
    if arch not in ARCHITECTURES:
        raise UsageError(f"unknown architecture '{arch}'", where="arch", hint=did_you_mean(arch, known_names()))
    return ARCHITECTURES[arch]


def check_architecture(arch: str) -> None:
    """Refuse a name that is no architecture's. Of timm's nothing is said: it is loaded where one is built.

    Raises:
        UsageError: unknown architecture, or a description that makes no network.
    """
    if not arch.startswith(TIMM):
        _own(arch)


def tap_names_of(arch: str) -> tuple[str, ...] | None:
    """The taps of an architecture; None where only the built network tells, and always of timm's, which is not asked.

    Raises:
        UsageError: unknown architecture, or a description that makes no network.
    """
    return None if not arch or arch.startswith(TIMM) else _own(arch).tap_names


def check_hints(hints: Sequence[str], tap_names: Sequence[str]) -> None:
    """Refuse hints of a decoder that are no taps of its encoder.

    Raises:
        UsageError: there is no such tap, or one is named twice.
    """
    for hint in hints:
        if hint not in tap_names:
            advice = f"{did_you_mean(hint, tap_names)} The deepest: hints: [{', '.join(tap_names[-2:])}]"
            raise UsageError(f"no tap '{hint}'", where="hints", hint=advice)
    if len(set(hints)) != len(hints):
        raise UsageError("a hint is named twice", where="hints", hint="name each tap once")


def torchvision_name(text: str, theirs: Collection[str] = ARCHITECTURES) -> tuple[str, str]:
    """The architecture and the tag, "" where there is none, of torchvision's ``NAME@TAG``; it has the nets `theirs`.

    Raises:
        UsageError: no architecture of ours, or none of theirs.
    """
    name, _, tag = text.partition("@")
    both = [one for one in ARCHITECTURES if one in theirs]
    if name not in both:
        raise UsageError(f"no torchvision network '{name}' here", where="source", hint=did_you_mean(name, both))
    return name, tag


def imported_arch(config: ImportConfig) -> str:
    """The architecture of what is brought in; "" where only a packed ticket tells.

    Raises:
        UsageError: nothing is named, or a file without its architecture; or an architecture that there is not.
    """
    if config.unpacks:
        return ""
    if config.head:
        hint = f"leave it out; bundles end in {PACKED}"
        raise UsageError("head chooses a network of a bundle", where="head", hint=hint)
    if not config.source:
        hint = "torchvision:resnet50@IMAGENET1K_V1, timm:NAME, or a file"
        raise UsageError("nothing to import", where="source", hint=hint)
    zoo, _, rest = config.source.partition(":")
    if zoo == "torchvision" and config.is_published:
        arch = torchvision_name(rest)[0]
    elif config.is_published:
        arch = config.source
    elif config.arch:
        arch = config.arch
        check_architecture(arch)
    else:
        hint = "name it with arch; known: " + ", ".join(known_names())
        raise UsageError("a file does not say its architecture", where="arch", hint=hint)
    return arch
