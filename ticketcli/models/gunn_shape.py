"""How a gradually updated network is described in a line: `cifar-64-240/20-300/25-360/30-360` is GUNN-15.

FORM-STEM-LAYER-...-LAYER[-LAST], where FORM is `cifar` or `imagenet`, STEM the channels of the first convolution, each
LAYER the channels of a GUNN layer and how many segments they make (`240/20`), or the sizes of its segments
(`12+24+60`), and LAST the channels of a 1x1 convolution behind the last layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from ticketcli.errors import UsageError, did_you_mean

PREFIX = "gunn:"
Form = Literal["cifar", "imagenet"]
NAMED: Mapping[str, str] = {
    "gunn15": "cifar-64-240/20-300/25-360/30-360",
    "gunn18": "imagenet-64-400/10-800/20-1600/40-2000/50",
    "gunn_small": "cifar-16-16/2-32/2-64/4-128/4-128",
}
_EXAMPLE = f"FORM-STEM-LAYER-...-LAYER[-LAST], such as {PREFIX}{NAMED['gunn15']}, which is gunn15"
_EQUAL, _SIZES, _NUMBER = re.compile(r"(\d{1,5})/(\d{1,4})"), re.compile(r"\d{1,5}(\+\d{1,5})+"), re.compile(r"\d{1,5}")
_MOST_LAYERS = 8


@dataclass(frozen=True)
class GunnShape:
    """What tells one of these networks from another.

    Attributes:
        form: `cifar`: a 3x3 stem, a projection in every unit, and maps averaged behind transitions; `imagenet`: a 7x7
            stem of stride 2 with a max-pool, no projections, and maps averaged before transitions.
        stem: its channels.
        layers: for each GUNN layer the sizes of its segments, in order.
        last: channels of a 1x1 convolution with BatchNorm and ReLU behind the last layer; None: there is none.
    """

    form: Form
    stem: int
    layers: tuple[tuple[int, ...], ...]
    last: int | None = None

    @property
    def image_size(self) -> int:
        """The side in pixels of the images that it is for."""
        return 32 if self.form == "cifar" else 224

    @property
    def tap_names(self) -> tuple[str, ...]:
        """The layers."""
        return tuple(f"layer{number}" for number in range(1, len(self.layers) + 1))


def parse_shape(text: str) -> GunnShape:
    """The shape of a description, without the `gunn:` before it.

    Raises:
        UsageError: says what is wrong with which part.
    """
    form, *parts = text.split("-")
    if form not in get_args(Form):
        raise _error(f"a GUNN has the form cifar or imagenet, not '{form}'", did_you_mean(form, get_args(Form)))
    if len(parts) < 2:
        raise _error(f"'{PREFIX}{text}' has no GUNN layer", _EXAMPLE)
    stem = _channels(parts[0], "the stem")
    last = _channels(parts.pop(), "the last convolution") if _NUMBER.fullmatch(parts[-1]) and len(parts) > 2 else None
    if len(parts) - 1 > _MOST_LAYERS:
        raise _error(
            f"{len(parts) - 1} GUNN layers, each but the first of half the resolution", f"{_MOST_LAYERS} at most"
        )
    return GunnShape(cast(Form, form), stem, tuple(map(_segments, parts[1:])), last)


def _channels(part: str, what: str) -> int:
    if not _NUMBER.fullmatch(part) or int(part) < 1:
        raise _error(f"'{part}' is no number of channels for {what}", _EXAMPLE)
    return int(part)


def _segments(part: str) -> tuple[int, ...]:
    """`240/20`, or `12+24+60`."""
    if _SIZES.fullmatch(part):
        sizes = tuple(map(int, part.split("+")))
        if min(sizes) < 1:
            raise _error(f"'{part}' has a segment without channels", _EXAMPLE)
        return sizes
    equal = _EQUAL.fullmatch(part)
    if equal is None:
        raise _error(f"'{part}' is no GUNN layer", "channels/segments, such as 240/20, or sizes, such as 12+24+60")
    try:
        return equal_segments(int(equal[1]), int(equal[2]))
    except UsageError as error:
        raise _error(error.what, error.hint) from None


def _error(what: str, hint: str) -> UsageError:
    return UsageError(what, where="arch", hint=hint)


def equal_segments(channels: int, n: int) -> tuple[int, ...]:
    """`n` segments of one size.

    Raises:
        UsageError: there are no such; the hint has sizes that are as equal as can be.
    """
    if n < 1 or channels < n:
        raise UsageError(
            f"{channels} channels cannot be {n} segments", where="segments", hint="1 or more channels each"
        )
    if channels % n:
        sizes = "+".join(map(str, near_equal_segments(channels, n)))
        raise UsageError(
            f"{channels} channels do not divide into {n} equal segments", where="segments",
            hint=f"another number, or unequal sizes that are written out: {sizes}",
        )  # fmt: skip
    return (channels // n,) * n


def near_equal_segments(channels: int, n: int) -> tuple[int, ...]:
    """At most `n` segments whose sizes differ by one at most, larger ones first."""
    n = min(n, channels)
    size, over = divmod(channels, n)
    return (size + 1,) * over + (size,) * (n - over)
