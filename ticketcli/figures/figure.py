"""`Figure`: a drawing with its name, what it shows and how it was made; inside a page, or as a file of its own."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import ClassVar, Protocol

from ticketcli.figures.looks import style
from ticketcli.figures.svg import INK, clean, element

_XMLNS = "http://www.w3.org/2000/svg"


class Drawing(Protocol):
    """Whatever can be drawn; narrower than `least_width` pixels it has to be moved sideways under the eye."""

    least_width: ClassVar[float]

    def draw(self) -> tuple[str, float, float]:
        """The inside of an SVG, its width and its height in pixels."""


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        name: of its file and its place in a page: small letters, digits and hyphens.
        title: what it shows, in a few words.
        caption: what a reader has to know to read it.
        facts: how it was made: command, seeds, n, interval.
        drawing: what is drawn.
        about: what is to be seen, for those who do not see it.
        columns, rows: the numbers behind it; none where they stand elsewhere.
    """

    name: str
    title: str
    caption: str
    facts: tuple[tuple[str, str], ...]
    drawing: Drawing
    about: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[Sequence[str], ...] = ()

    def inline(self) -> str:
        """As an element of a page whose style sheet has the rules of `looks.style`."""
        inside, width, height = self.drawing.draw()
        return self._svg(inside, width, height)

    def file(self) -> str:
        """As a file of its own, readable without any style sheet; its words are in it."""
        inside, width, height = self.drawing.draw()
        paper = element("rect", width=width, height=height, class_="paper", fill=INK["paper"][0])
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + self._svg(
            f"<style>{style()}</style>{paper}{inside}", width, height, is_file=True
        )

    def _svg(self, inside: str, width: float, height: float, *, is_file: bool = False) -> str:
        words = [f"{self.about or self.caption}", *(f"{name}: {text}." for name, text in self.facts if is_file)]
        inside = (
            f'<title id="{self.name}--title">{escape(clean(self.title))}</title>'
            f'<desc id="{self.name}--about">{escape(clean(" ".join(words)))}</desc>' + inside
        )
        least = max(self.drawing.least_width, width if width > 480 else 0.0)
        size = {"width": width, "height": height} if is_file else {"style": f"min-width:{least:.0f}px"}
        return element(
            "svg", inside, xmlns=_XMLNS if is_file else None, viewBox=f"0 0 {width:.0f} {height:.0f}", role="img",
            class_="figure", aria_labelledby=f"{self.name}--title", aria_describedby=f"{self.name}--about", **size,
        )  # fmt: skip


@dataclass(frozen=True)
class Raster:
    """A picture of pixels as a drawing, so that it has a file like the others."""

    data: bytes
    mime: str
    width: int
    height: int
    least_width: ClassVar[float] = 0.0

    @property
    def uri(self) -> str:
        """The picture itself as an address."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"

    def draw(self) -> tuple[str, float, float]:
        """The picture, at its size."""
        return element("image", href=self.uri, width=self.width, height=self.height), self.width, self.height
