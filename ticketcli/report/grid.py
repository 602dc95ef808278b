"""`Grid`: a table as words, before anyone decides whether it goes to a terminal, to Markdown or elsewhere."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_GAP = 2
_NARROWEST = 18  # a label column narrower than this is no longer read with ease


@dataclass(frozen=True)
class Grid:
    """Columns and rows of text; the first `n_labels` columns say what a row is, all others are aligned right.

    `groups` numbers the columns; those of equal number stay beside each other where the width allows it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_labels: int = 1
    groups: tuple[int, ...] = ()

    def without_empty(self) -> Grid:
        """Less the columns that hold nothing, labels aside."""
        kept = [
            index for index in range(len(self.columns))
            if index < self.n_labels or any(row[index] for row in self.rows)
        ]  # fmt: skip
        groups = tuple(self.groups[index] for index in kept) if self.groups else ()
        return Grid(_take(self.columns, kept), tuple(_take(row, kept) for row in self.rows), self.n_labels, groups)

    def as_text(self, width: int) -> str:
        """The table in lines of at most `width` characters, as far as its words allow.

        Labels that are too long are broken between words. Columns that do not fit beside each other go below, in
        another block with the labels repeated; a number is never broken.
        """
        widths = [max(len(row[index]) for row in (self.columns, *self.rows)) for index in range(len(self.columns))]
        labels, numbers = range(self.n_labels), range(self.n_labels, len(self.columns))
        if sum(widths) + _GAP * (len(widths) - 1) > width:
            room = width - sum(widths[index] + _GAP for index in numbers)
            room = room if room >= _NARROWEST * self.n_labels else width // 2
            for index, share in zip(labels, _shares([widths[index] for index in labels], room), strict=True):
                widths[index] = share
        blocks = self._split(widths, width)
        return "\n\n".join(self._block([*labels, *block], widths) for block in blocks)

    def _split(self, widths: Sequence[int], width: int) -> list[list[int]]:
        """Which columns stand beside each other: as many whole groups as fit, of a group too wide as many columns."""
        numbers = range(self.n_labels, len(self.columns))
        room = width - sum(widths[index] + _GAP for index in range(self.n_labels)) + _GAP
        groups = [
            list(members)
            for _, members in itertools.groupby(numbers, key=lambda index: self.groups[index] if self.groups else index)
        ]
        blocks: list[list[int]] = [[]]
        left = room
        for group in groups:
            if room >= sum(widths[index] + _GAP for index in group) > left and blocks[-1]:
                blocks.append([])
                left = room
            for index in group:
                if widths[index] + _GAP > left and blocks[-1]:
                    blocks.append([])
                    left = room
                blocks[-1].append(index)
                left -= widths[index] + _GAP
        return blocks

    def _block(self, chosen: Sequence[int], widths: Sequence[int]) -> str:
        lines = []
        for row in (self.columns, *self.rows):
            cells = [_broken(row[index], widths[index]) if index < self.n_labels else [row[index]] for index in chosen]
            for line in range(max(len(cell) for cell in cells)):
                words = [cell[line] if line < len(cell) else "" for cell in cells]
                padded = [
                    word.ljust(widths[index]) if index < self.n_labels else word.rjust(widths[index])
                    for index, word in zip(chosen, words, strict=True)
                ]
                lines.append((" " * _GAP).join(padded).rstrip())
        return "\n".join(lines)

    def as_markdown(self) -> str:
        """The same as a pipe table."""
        align = ["---" if index < self.n_labels else "---:" for index in range(len(self.columns))]
        rows = (self.columns, tuple(align), *self.rows)
        return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows)


def _shares(widths: Sequence[int], room: int) -> list[int]:
    """How wide each label column may be: what it wants while that is less than its share of what is left."""
    order = sorted(range(len(widths)), key=lambda index: widths[index])
    shares = list(widths)
    left = room - _GAP * (len(widths) - 1)
    for rank, index in enumerate(order):
        shares[index] = max(min(widths[index], left // (len(order) - rank)), 2)
        left -= shares[index]
    return shares


def _take(row: Sequence[str], kept: Sequence[int]) -> tuple[str, ...]:
    return tuple(row[index] for index in kept)


def _broken(text: str, width: int) -> list[str]:
    """A label in lines of `width`, broken at spaces, and inside a word only where that is longer."""
    return textwrap.wrap(text, max(width, 2), subsequent_indent="  " if width >= _NARROWEST else "") or [""]
