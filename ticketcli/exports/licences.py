"""On what terms foreign weights are, as far as that is known: words for the card, and no legal advice."""

from __future__ import annotations

from collections.abc import Mapping

_ZOOS: Mapping[str, str] = {
    "torchvision": "torchvision is under the BSD 3-Clause licence; its documentation says that pretrained weights may "
    "have terms of their own, which come from the images that they were trained on",
    "timm": "timm names the licence of each network on that network's own page; look there",
}
UNKNOWN = "not known here: whoever gave you the file has to say"


def licence_of(source: str) -> str:
    """The terms of weights that `ticket import` brought in, by what it was told to import."""
    return _ZOOS.get(source.partition(":")[0], UNKNOWN)
