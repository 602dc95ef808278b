"""SVG as text: elements whose attributes and words are escaped, whatever they hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

# What XML 1.0 cannot hold: control characters, lone surrogates, and two code points that are no characters.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ADVANCE = 0.56  # mean width of a letter, as a share of the font's size, of the sans-serif fonts that browsers take
ELLIPSIS = "\u2026"


def clean(text: object) -> str:
    """Text that XML can hold; what it cannot is shown as a replacement character."""
    return _FORBIDDEN.sub("\ufffd", str(text))


def element(name: str, *children: str, **attributes: object) -> str:
    """An element. Children are SVG already; attributes are escaped, those that are None are left out.

    A trailing ``_`` is dropped from names and other underscores become hyphens: ``class_``, ``stroke_width``.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(clean(_short(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(children)
    return f"<{name}{given}>{inner}</{name}>" if inner else f"<{name}{given}/>"


def _short(value: object) -> object:
    """Numbers to a hundredth of a pixel: what is finer is not seen."""
    if isinstance(value, float):
        text = f"{value:.2f}".rstrip("0").rstrip(".")
        return "0" if text == "-0" else text
    return value


def words(
    text: object, x: float, y: float, *, size: float = 13, anchor: str = "start", class_: str = "ink", **more: object
) -> str:
    """A line of text; `y` is its baseline."""
    fill = more.pop("fill", INK[class_][0] if class_ in INK else None)
    return element(
        "text", escape(clean(text)), x=x, y=y, font_size=size, text_anchor=None if anchor == "start" else anchor,
        class_=class_, fill=fill, **more,
    )  # fmt: skip


def tip(text: object) -> str:
    """Words that a pointer that rests on the element brings up, and that screen readers read."""
    return f"<title>{escape(clean(text))}</title>" if text else ""


def width_of(text: str, size: float) -> float:
    """About how wide a line is, in pixels: SVG cannot be asked before it is drawn."""
    return len(text) * size * _ADVANCE


def shortened(text: str, size: float, width: float) -> str:
    """As much of a text as `width` holds, with dots where it was cut."""
    text = " ".join(clean(text).split())
    if width_of(text, size) <= width:
        return text
    return text[: max(1, int(width / size / _ADVANCE) - 1)].rstrip() + ELLIPSIS


def wrapped(items: Sequence[float], width: float, gap: float) -> list[list[tuple[int, float]]]:
    """Lines of (number of the item, where it begins), for items of these widths beside each other."""
    lines: list[list[tuple[int, float]]] = []
    at = width + 1
    for number, needed in enumerate(items):
        if at + needed > width or not lines:
            lines.append([])
            at = 0.0
        lines[-1].append((number, at))
        at += needed + gap
    return lines


# class -> colour on white and on near-black. Greys differ enough from both to be read (see tests/figures).
INK = {
    "ink": ("#1c1e24", "#e8e9ee"),
    "quiet": ("#565a66", "#a9adba"),
    "rule": ("#d9dbe2", "#3b3f4a"),
    "paper": ("#ffffff", "#16181d"),
}
