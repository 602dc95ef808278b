"""`Heatmap`: shares as shades, a cell for each row and column; what is nothing at all has a cross."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from ticketcli.figures.svg import INK, element, shortened, tip, width_of, words

_SIZE = 12.0
_NARROWEST, _WIDEST, _HIGH = 9.0, 44.0, 24.0
_LABELS = 176.0  # at most, for the words of a row
WIDTH = 480.0
# One hue from light to dark, so that order is seen without colour; dark cells carry white words.
_RAMP = ((0.0, (247, 249, 252)), (0.25, (198, 218, 238)), (0.5, (121, 170, 213)), (0.75, (42, 108, 170)),
         (1.0, (9, 48, 96)))  # fmt: skip


@dataclass(frozen=True)
class Heatmap:
    """Values by row and column; None where there is nothing to show.

    Attributes:
        rows, columns: what they are called.
        values: a row each, in [low, high].
        texts: the values in words, for the cell and for whoever points at it.
        low, high: the values of the lightest and of the darkest shade.
        crossed: (row, column) of cells with a cross.
        corner: what the columns are.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    low: float = 0.0
    high: float = 1.0
    crossed: frozenset[tuple[int, int]] = frozenset()
    corner: str = ""
    least_width: ClassVar[float] = 440.0  # below, its numbers are not to be read

    def draw(self) -> tuple[str, float, float]:
        """The inside of an SVG, its width and its height."""
        names = [shortened(name, _SIZE, _LABELS) for name in self.rows]
        left = 10 + max([width_of(name, _SIZE) for name in names], default=0.0)
        cell = min(max((WIDTH - left - 12) / max(len(self.columns), 1), _NARROWEST), _WIDEST)
        right = left + cell * len(self.columns)
        upright = max([width_of(name, _SIZE) for name in self.columns], default=0.0) <= cell - 4
        longest = max([width_of(name, _SIZE) for name in self.columns], default=0.0)
        top = (22.0 if self.corner else 4.0) + (18.0 if upright else min(longest, 150.0) + 8)
        parts = [words(self.corner, 4, 15, size=_SIZE, class_="quiet")] if self.corner else []
        parts.extend(self._heads(left, cell, top, upright))
        for row, name in enumerate(names):
            y = top + row * _HIGH
            parts.append(words(name, left - 6, y + _HIGH / 2 + 4, size=_SIZE, anchor="end"))
            for column in range(len(self.columns)):
                parts.extend(self._cell(row, column, left + column * cell, y, cell))
        height = top + len(names) * _HIGH + 6
        parts.extend(_key(left, height + 8, self.texts, self.low, self.high))
        return "".join(parts), max(WIDTH, right + 8), height + 34

    def _heads(self, left: float, cell: float, top: float, upright: bool) -> Sequence[str]:
        step = max(1, -(-int(_SIZE + 1) // int(cell))) if not upright else 1  # no two names over each other
        parts = []
        for number, name in enumerate(self.columns):
            if number % step:
                continue
            x = left + (number + 0.5) * cell
            if upright:
                parts.append(words(name, x, top - 6, size=_SIZE, anchor="middle", class_="quiet"))
            else:
                turn = f"rotate(-90 {x + 4:.1f} {top - 5:.1f})"
                parts.append(words(shortened(name, _SIZE, 150), x + 4, top - 5, size=_SIZE, class_="quiet",
                                   transform=turn))  # fmt: skip
        return parts

    def _cell(self, row: int, column: int, x: float, y: float, cell: float) -> Sequence[str]:
        value, text = self.values[row][column], self.texts[row][column]
        about = tip(f"{self.rows[row]}, {self.columns[column]}: {text}" if text else "")
        box = {"x": x + 0.5, "y": y + 0.5, "width": cell - 1, "height": _HIGH - 1}
        if value is None:
            return [element("rect", about, **box, class_="axis", fill="none", stroke=INK["rule"][0])] if text else []
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 1.0
        parts = [element("rect", about, **box, fill=shade(share), stroke="#8b93a3", stroke_width=0.5)]
        ink = "#ffffff" if share > 0.6 else "#14161b"
        if (row, column) in self.crossed:
            middle, centre, r = x + cell / 2, y + _HIGH / 2, min(cell, _HIGH) / 2 - 3
            d = (f"M{middle - r:.1f} {centre - r:.1f}l{2 * r:.1f} {2 * r:.1f}"
                 f"M{middle - r:.1f} {centre + r:.1f}l{2 * r:.1f} {-2 * r:.1f}")  # fmt: skip
            parts.append(element("path", about, d=d, fill="none", stroke="#b0284f", stroke_width=2.2))
        elif width_of(text, 11) <= cell - 3:
            parts.append(
                element("text", text, x=x + cell / 2, y=y + _HIGH / 2 + 4, font_size=11, text_anchor="middle", fill=ink)
            )
        return parts


def shade(share: float) -> str:
    """The colour of a share in [0, 1]."""
    share = min(max(share, 0.0), 1.0)
    for (low, first), (high, second) in pairwise(_RAMP):
        if share <= high:
            part = (share - low) / (high - low)
            mixed = [round(one + part * (other - one)) for one, other in zip(first, second, strict=True)]
            return "#{:02x}{:02x}{:02x}".format(*mixed)
    raise AssertionError("the ramp ends at 1")


def _key(left: float, y: float, texts: Sequence[Sequence[str]], low: float, high: float) -> Sequence[str]:
    """What the shades mean: the two ends and three steps between them."""
    parts, wide = [], 30.0
    is_share = any(text.endswith("%") for row in texts for text in row)
    for number in range(5):
        value = low + (high - low) * number / 4
        parts.append(element("rect", x=left + number * wide, y=y, width=wide, height=8.0, fill=shade(number / 4),
                             stroke="#8b93a3", stroke_width=0.5))  # fmt: skip
        if number % 2 == 0:
            text = f"{value:.0%}" if is_share else f"{value:.2g}"
            parts.append(words(text, left + (number + 0.5) * wide, y + 20, size=11, anchor="middle", class_="quiet"))
    return parts
