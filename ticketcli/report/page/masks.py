"""The masks of a run: which there are, read no more often than needed, and how much of each layer lives."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path

from ticketcli.errors import TicketError
from ticketcli.report.page.subject import Arm, Subject
from ticketcli.store.codec import KIND, read_mask
from ticketcli.store.mask import Mask
from ticketcli.store.tensorfile import read_header

_DIGITS = re.compile(r"(\d+)")
Place = tuple[int, str, int]  # the arm's number, the replicate, the round
Layers = Mapping[str, tuple[int, int]]  # name -> living weights, all weights


@dataclass
class Masks:
    """The masks of the arms: `paths` by arm, replicate and round; `problems`: which could not be read, and why."""

    subject: Subject
    problems: list[tuple[Place, str]] = field(default_factory=list)
    _read: dict[Place, Mask | None] = field(default_factory=dict)
    _layers: dict[Place, tuple[Layers, Layers] | None] = field(default_factory=dict)

    @cached_property
    def paths(self) -> dict[Place, Path]:
        """Where they lie. A mask that is not of a numbered round, such as a gradual pruning's, is of round 1."""
        found: dict[Place, Path] = {}
        for arm in self.subject.arms:
            for replicate, step in arm.steps.items():
                base = self.subject.run.step_folder(step.name)
                for name, unit in self.subject.found.units.get(step.name, {}).items():
                    for artifact in unit.outputs:
                        file = artifact.files.get("mask")
                        if file is not None and (artifact.name.isdigit() or name == "gmp"):
                            number = int(artifact.name) if artifact.name.isdigit() else 1
                            found[arm.number, replicate, number] = file.locate(base)
        return found

    def rounds(self, arm: Arm, replicate: str) -> list[int]:
        """The rounds of a replicate whose masks are recorded."""
        return sorted(place[2] for place in self.paths if place[:2] == (arm.number, replicate))

    def replicates(self, arm: Arm) -> list[str]:
        """The replicates of an arm that have a mask."""
        return [replicate for replicate in arm.steps if self.rounds(arm, replicate)]

    def mask(self, place: Place) -> Mask | None:
        """A mask, or None where its file is gone or damaged, which is told once."""
        if place not in self._read:
            self._read[place] = None
            try:
                self._read[place] = read_mask(self.paths[place])[0]
            except TicketError as error:
                self._tell(place, error)
        return self._read[place]

    def forget(self) -> None:
        """Let go of all that was read: a thousand masks of a large network fill the memory."""
        self._read.clear()

    def layers(self, place: Place) -> Layers | None:
        """The counts of each layer in the order of the network, from the file's header alone; None as in `mask`."""
        found = self._counted(place)
        return found and found[0]

    def matrices(self, place: Place) -> Layers | None:
        """The same without what is a number a channel: BatchNorms, which fall with the filters before them."""
        found = self._counted(place)
        return found and found[1]

    def _counted(self, place: Place) -> tuple[Layers, Layers] | None:
        if place not in self._layers:
            self._layers[place] = None
            try:
                self._layers[place] = _counts(self.paths[place])
            except TicketError as error:
                self._tell(place, error)
        return self._layers[place]

    def total(self) -> int:
        """The number of prunable weights of the first mask that can be read; 0 without one."""
        for place in self.paths:
            found = self.layers(place)
            if found:
                return sum(size for _, size in found.values())
        return 0

    def _tell(self, place: Place, error: TicketError) -> None:
        if (place, error.what) not in self.problems:
            self.problems.append((place, error.what))

    def told(self, since: int = 0) -> list[str]:
        """The problems from that one on, a line for what is wrong with the same rounds of replicates of an arm."""
        each: dict[tuple[int, str, str], list[int]] = {}
        for (arm, replicate, number), what in self.problems[since:]:
            each.setdefault((arm, replicate, what), []).append(number)
        alike: dict[tuple[int, str, tuple[int, ...]], list[str]] = {}
        for (arm, replicate, what), numbers in each.items():
            alike.setdefault((arm, what, tuple(sorted(numbers))), []).append(replicate)
        return [
            f"{self.subject.arms[arm].name}, {_many('replicate', replicates)}, {_many('round', numbers)}: {what}"
            for (arm, what, numbers), replicates in alike.items()
        ]


def _many(name: str, some: Sequence[object]) -> str:
    return f"{name}{'s' * (len(some) > 1)} {', '.join(map(str, some))}"


def _counts(path: Path) -> tuple[Layers, Layers]:
    """Living and all weights of every tensor, and of those of more than one dimension."""
    header = read_header(path)
    about = header.metadata.get("about", {})
    try:
        if header.metadata.get("kind") != KIND:
            raise ValueError("no mask")
        shapes = {name: tuple(map(int, about["shapes"][name])) for name in sorted(about["shapes"], key=in_order)}
        found = {name: (int(about["kept"][name]), prod(shape)) for name, shape in shapes.items()}
    except (KeyError, TypeError, ValueError):
        raise TicketError("the file does not say how much of each layer lives", where=str(path)) from None
    return found, {name: counts for name, counts in found.items() if len(shapes[name]) > 1}


def in_order(name: str) -> tuple[object, ...]:
    """Sorts names of layers as the network has them: numbers by value; a block's shortcut after its convolutions."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in _DIGITS.split(name))
