"""What a page is made of: sections of words, tables, figures and pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ticketcli.figures.figure import Figure, Raster
from ticketcli.report.grid import Grid

_LONGEST = 60


@dataclass(frozen=True)
class Words:
    """A paragraph, or the reason why something is not there."""

    text: str
    kind: str = "words"
    is_absence: bool = False


@dataclass(frozen=True)
class Shown:
    """A table with the lines that explain it; `is_folded` hides it behind its caption."""

    caption: str
    grid: Grid
    notes: tuple[str, ...] = ()
    is_folded: bool = False
    kind: str = "grid"


@dataclass(frozen=True)
class Drawn:
    """A figure."""

    figure: Figure
    kind: str = "figure"

    @property
    def raster(self) -> Raster | None:
        """The pixels, where it is a picture."""
        return self.figure.drawing if isinstance(self.figure.drawing, Raster) else None


Block = Words | Shown | Drawn


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own."""

    name: str
    title: str
    blocks: tuple[Block, ...]

    @property
    def figures(self) -> list[Figure]:
        """The figures in it."""
        return [block.figure for block in self.blocks if isinstance(block, Drawn)]


def runs_of_figures(blocks: Sequence[Block]) -> Iterator[tuple[str, list[Block]]]:
    """The blocks in their order, figures that follow each other together, for they may stand side by side."""
    group: list[Block] = []
    for block in blocks:
        if isinstance(block, Drawn) and block.raster is None:
            group.append(block)
            continue
        if group:
            yield "figures", group
            group = []
        yield block.kind, [block]
    if group:
        yield "figures", group


def slug(*parts: object) -> str:
    """A name for a file and for a place in the page, of whatever words: small letters, digits and hyphens."""
    text = "-".join(re.sub(r"[^a-z0-9]+", "-", str(part).lower()).strip("-") for part in parts)
    return re.sub(r"-{2,}", "-", text)[:_LONGEST].strip("-") or "figure"


class Names:
    """Gives out names that no two figures of a page share; `prefix` tells the runs of a page apart."""

    def __init__(self, prefix: str = "", taken: set[str] | None = None) -> None:
        self.prefix = prefix
        self._taken = set() if taken is None else taken

    def take(self, *parts: object) -> str:
        """The slug of the parts, with a number behind it where it is taken."""
        wanted = slug(*filter(None, [self.prefix]), *parts)
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted}-{number}", number + 1
        self._taken.add(name)
        return name

    def under(self, prefix: str) -> Names:
        """Names that begin with a prefix, none of which is taken here."""
        return Names(prefix, self._taken)
