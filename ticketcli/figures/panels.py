"""`Panels`: several drawings as one, beside each other, each under its heading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ticketcli.figures.figure import Drawing
from ticketcli.figures.svg import element, shortened, words

_GAP = 28.0
_TITLE, _HEADING = 16.0, 15.0  # sizes of type
_TOP = 64.0  # where the drawings begin


@dataclass(frozen=True)
class Panels:
    """Drawings from left to right.

    Attributes:
        title: a line above all of them, for a file that nothing else is told about.
        panels: heading and drawing of each.
    """

    title: str
    panels: tuple[tuple[str, Drawing], ...]
    least_width: ClassVar[float] = 0.0

    def draw(self) -> tuple[str, float, float]:
        """The inside of an SVG, its width and its height."""
        drawn = [(heading, *drawing.draw()) for heading, drawing in self.panels]
        width = sum(wide + _GAP for _, _, wide, _ in drawn) - _GAP
        parts = [words(shortened(self.title, _TITLE, width - 8), 4, 22, size=_TITLE)]
        at = 0.0
        for heading, inside, wide, _ in drawn:
            parts.append(words(shortened(heading, _HEADING, wide - 8), at + 4, 52, size=_HEADING, font_weight="bold"))
            parts.append(element("g", inside, transform=f"translate({at:.0f} {_TOP:.0f})"))
            at += wide + _GAP
        return "".join(parts), width, _TOP + max(high for _, _, _, high in drawn)
