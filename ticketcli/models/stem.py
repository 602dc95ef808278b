"""Stems: what becomes of a 7x7 stem where a net made for large images meets small ones.

A 7x7 convolution of stride 2 and a max-pool leave a 32-pixel image 8 pixels a side before the first block; the net of
the same name with `_3x3` behind it keeps all 32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from ticketcli.errors import UsageError
from ticketcli.models.table import ARCHITECTURES, SMALL_STEM
from ticketcli.tensors.seeds import generator

Form = Literal["fresh", "center", "resize", "keep7"]
STEM = "conv1.weight"
FORMS: Mapping[Form, str] = {
    "fresh": "a fresh 3x3 stem",
    "center": "the center of its 7x7 stem",
    "resize": "its 7x7 stem resized to 3x3",
    "keep7": "its own stem",
}
_SMALL_IMAGE = 64


def choose_form(wanted: Literal["auto"] | Form, arch: str, image_size: int) -> Form:
    """What to do with the stem: `auto` is fresh where a 7x7 stem meets images of at most 64 pixels, else keep it.

    Source of `auto`: the paper's reference [1], which transfers ImageNet's ResNets to CIFAR so.

    Raises:
        UsageError: another stem is asked for than the net's own, and the net has no 7x7 stem.
    """
    changeable = arch + SMALL_STEM in ARCHITECTURES
    if wanted == "auto":
        return "fresh" if changeable and image_size <= _SMALL_IMAGE else "keep7"
    if wanted != "keep7" and not changeable:
        raise UsageError(
            f"'{arch}' has no 7x7 stem to change", where="stem", hint="use stem: auto, which keeps the stem that it has"
        )
    return wanted


def require_size(arch: str, own: int, source: int) -> None:
    """Refuse to choose between a network's own number of pixels and that of small images, which are another experiment.

    Args:
        arch: of the network.
        own: pixels of the images, 0 where they come in any size.
        source: pixels that the network was trained on.

    Raises:
        UsageError: the network has a 7x7 stem for large images, and these are small.
    """
    if 0 < own <= _SMALL_IMAGE < source and arch + SMALL_STEM in ARCHITECTURES:
        raise UsageError(
            f"these images have {own} pixels, and the network was trained on {source}", where="image_size",
            hint=f"--image-size {own}: a fresh 3x3 stem, no max-pool, as the paper; --image-size {source}: enlarged",
        )  # fmt: skip


def require_own_stem(form: Form) -> None:
    """Refuse a stem that changes under BatchNorm that stands still: its statistics are of the source's images.

    Raises:
        UsageError: the stem is another than the network's own.
    """
    if form != "keep7":
        raise UsageError(
            f"BatchNorm cannot stand still behind {FORMS[form]}", where="batchnorm",
            hint="--batchnorm train, or --stem keep7",
        )  # fmt: skip


def restem(values: Mapping[str, Tensor], arch: str, form: Form, *, seed: int) -> tuple[str, dict[str, Tensor]]:
    """The architecture and the values of a net whose stem has taken the given form; everything else, bn1 too, is kept.

    Args:
        values: a checkpoint of `arch`, by parameter name; left as they are.
        arch: an architecture with a 7x7 stem; any at all where `form` is `keep7`.
        form: `fresh`: He's draw; `center`: the kernel's middle; `resize`: the whole kernel, resampled by area;
            `keep7`: nothing changes.
        seed: of the fresh draw.

    Raises:
        UsageError: the architecture has no 7x7 stem.
    """
    form = choose_form(form, arch, image_size=0)
    if form == "keep7":
        return arch, dict(values)
    kernel = values[STEM]
    if form == "fresh":
        small = torch.empty(*kernel.shape[:2], 3, 3)
        nn.init.kaiming_normal_(small, mode="fan_out", nonlinearity="relu", generator=generator(seed, "stem"))
    elif form == "center":
        small = kernel[:, :, 2:5, 2:5].clone()
    else:
        small = resampled(kernel)
    return arch + SMALL_STEM, {**values, STEM: small.to(kernel)}


def resampled(kernel: Tensor) -> Tensor:
    """[out, in, 7, 7] -> [out, in, 3, 3]: each old pixel goes to the new pixels that it overlaps, by shares of area.

    The shares of a pixel add up to one, so every kernel keeps its sum, and with it the response to a constant image.
    """
    shares = torch.zeros(3, 7, dtype=torch.float64)
    edges = [7 * k / 3 for k in range(4)]
    for new in range(3):
        for old in range(7):
            shares[new, old] = max(0.0, min(edges[new + 1], old + 1) - max(edges[new], old))
    return torch.einsum("aj,oijk,bk->oiab", shares, kernel.double(), shares).to(kernel.dtype)
