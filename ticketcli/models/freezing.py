"""Freezing: what of a backbone stays as it is while a task is learnt on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from ticketcli.errors import UsageError
from ticketcli.models.cost import Taps, one_image
from ticketcli.models.encoder import Encoder
from ticketcli.tensors.modes import evaluating

Upto = Literal["none", "stem", "first", "backbone"]
N_LEVELS = 4  # the deepest taps that a feature pyramid stands on: C2 to C5, where there are so many


def freeze_parts(
    encoder: Encoder, upto: Upto, batchnorm: Literal["train", "frozen"], *, image_size: int = 224
) -> tuple[nn.Module, ...]:
    """Take gradients from a part of the backbone, and say what has to stay in eval mode for it to be frozen.

    A part that is frozen is so with its BatchNorm, affine parameters and running statistics alike. What a tap depends
    on is found by differentiating it, so it holds for any net. Detectron2's default is `first` and `frozen`.

    Args:
        encoder: the backbone; `requires_grad` is changed in place, values are not.
        upto: `stem`: what comes before the stage of the pyramid's first tap; `first`: with that stage; `backbone`: all.
        batchnorm: `frozen`: every BatchNorm of the backbone, wherever it is.
        image_size: that the encoder takes, in pixels a side; only nets of one fixed size care.

    Returns:
        The parts to call `.eval()` on after every `.train()` of the whole.

    Raises:
        UsageError: it cannot be told where the stem or the first stage ends.
    """
    frozen = _names_upto(encoder, upto, image_size)
    if batchnorm == "frozen":
        for name, part in encoder.named_modules():
            if isinstance(part, _BatchNorm):
                frozen |= {f"{name}.{inner}" for inner, _ in part.named_parameters()}
    for name, parameter in encoder.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    still = dict(_wholly_within(encoder, frozen))
    if batchnorm == "frozen":  # those without affine parameters, too
        inside = {id(inner) for part in still.values() for inner in part.modules()}
        others = ((name, part) for name, part in encoder.named_modules() if isinstance(part, _BatchNorm))
        still |= {name: part for name, part in others if id(part) not in inside}
    return tuple(still.values())


def freeze_untapped(encoder: Encoder, *, image_size: int) -> None:
    """Take the gradients from the parameters that no tap depends on, such as the classifier's.

    For a loss that reads taps alone: it never moves these, and processes that train together must not wait for them.

    Raises:
        UsageError: the net has no taps.
    """
    encoder.require_taps()
    known = set[str]().union(*(_behind(encoder, tap, image_size) for tap in encoder.tap_names))
    for name, parameter in encoder.named_parameters():
        if name not in known:
            parameter.requires_grad_(False)


def frozen_in_words(encoder: Encoder) -> str:
    """What is frozen, for people: `conv1, layer1, all BatchNorm`, or `nothing`."""
    fixed = {name for name, parameter in encoder.named_parameters() if not parameter.requires_grad}
    if len(fixed) == len(list(encoder.parameters())):
        return "the whole backbone"
    parts = [name for name, part in _wholly_within(encoder, fixed) if not isinstance(part, _BatchNorm)]
    norms = [part for part in encoder.modules() if isinstance(part, _BatchNorm)]
    if norms and not any(parameter.requires_grad for norm in norms for parameter in norm.parameters()):
        parts.append("all BatchNorm")
    return ", ".join(parts) or "nothing"


def _names_upto(encoder: Encoder, upto: Upto, image_size: int) -> set[str]:
    """The parameters of the part."""
    if upto == "none":
        return set()
    if upto == "backbone":
        return {name for name, _ in encoder.named_parameters()}
    if len(encoder.tap_names) <= 1:
        raise _untold(upto)
    shallower, first = encoder.tap_names[:-N_LEVELS], encoder.tap_names[-N_LEVELS:][0]
    if upto == "first" or shallower:
        return _behind(encoder, first if upto == "first" else shallower[-1], image_size)
    try:
        stage = {f"{first}.{name}" for name, _ in encoder.get_submodule(first).named_parameters()}
    except AttributeError:
        raise _untold(upto) from None
    stem = _behind(encoder, first, image_size) - stage
    if not stem:
        raise _untold(upto)
    return stem


def _untold(upto: Upto) -> UsageError:
    what = "its stem" if upto == "stem" else "its first stage"
    return UsageError(
        f"it cannot be told where {what} ends in this net",
        where="freeze",
        hint="use freeze: none, or freeze_backbone: true",
    )


def _behind(encoder: Encoder, tap: str, image_size: int) -> set[str]:
    """The parameters that a tap depends on; found on tensors without values, at no cost."""
    ghosts = {name: value.detach().to("meta").requires_grad_() for name, value in encoder.named_parameters()}
    buffers = {name: value.to("meta") for name, value in encoder.named_buffers()}
    with evaluating(encoder), torch.enable_grad():
        values = {f"encoder.{name}": value for name, value in (*ghosts.items(), *buffers.items())}
        taps = functional_call(Taps(encoder), values, (one_image(image_size),))
        slopes = torch.autograd.grad(taps[tap].sum(), list(ghosts.values()), allow_unused=True)
    return {name for name, slope in zip(ghosts, slopes, strict=True) if slope is not None}


def _wholly_within(module: nn.Module, names: set[str], prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The largest parts that have parameters, and all of them among `names`."""
    own = [prefix + name for name, _ in module.named_parameters()]
    if own and names.issuperset(own):
        yield prefix.removesuffix("."), module
        return
    for name, child in module.named_children():
        yield from _wholly_within(child, names, f"{prefix}{name}.")
