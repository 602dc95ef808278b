"""Whose weights these are, and on what terms, as far as that is known: words for the card, and no legal advice."""

from __future__ import annotations

from collections.abc import Mapping

_ZOOS: Mapping[str, str] = {
    "torchvision": "torchvision is under the BSD 3-Clause licence; its documentation says that pretrained weights may "
    "have terms of their own, which come from the images that they were trained on",
    "timm": "timm names the licence of each network on that network's own page; look there",
}
# As README.md lists them under "Image sets".
_SETS: Mapping[str, str] = {
    "digits": "public (UCI)",
    "mnist": "a public research set",
    "fashion-mnist": "MIT",
    "cifar10": "a public research set",
    "cifar100": "a public research set",
    "svhn": "not for commercial use",
    "imagenet": "research, not commercial",
    "coco": "annotations CC BY 4.0, images as each says",
}
UNKNOWN = "not known here: whoever gave you the file has to say"


def licence_of(source: str) -> str:
    """The terms of weights that `ticket import` brought in, by what it was told to import."""
    return _ZOOS.get(source.partition(":")[0], UNKNOWN)


def terms_of(name: str) -> str:
    """The terms of an image set by its name; "" where they are the user's own affair."""
    first, _, rest = name.partition(":")
    return terms_of(rest or "digits") if first == "scenes" else _SETS.get(first, "")
