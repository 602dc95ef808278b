"""The saved states of a unit under way: a new one is written and verified before the oldest of one's own goes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ticketcli.errors import CorruptError, InputMissing

KEPT = 2
_NAME = re.compile(r"(?P<unit>.+)-(?P<serial>\d{9,18})\.safetensors")
T = TypeVar("T")


def unit_of(name: str) -> str:
    """The unit whose state a file is, by its name; "" if it is none."""
    match = _NAME.fullmatch(name)
    return match["unit"] if match else ""


class Generations:
    """The states of one unit in one folder. `own` are those made under the present config, oldest first."""

    def __init__(self, folder: Path, unit: str) -> None:
        self.folder, self.unit = folder, unit
        self.own: list[Path] = []

    def newest_first(self) -> list[Path]:
        """All that are there, whoever made them."""
        found = [path for path in self.folder.glob("*.safetensors") if unit_of(path.name) == self.unit]
        return sorted(found, key=_serial, reverse=True)

    def recall(self, read: Callable[[Path], T | None], say: Callable[[str], None]) -> T | None:
        """The newest state that can be used, or None.

        Args:
            read: reads and checks a state; None is one of another config, a CorruptError one that is passed over.
            say: told of each that is not used.
        """
        found: T | None = None
        for path in self.newest_first():
            try:
                state = read(path)
            except (CorruptError, InputMissing) as error:
                say(f"{path.name} is damaged ({error.what}); falling back to the one before")
                continue
            if state is None:
                say(f"{path.name} belongs to another config and is left alone")
                continue
            self.own.insert(0, path)
            found = state if found is None else found
        return found

    def commit(self, write: Callable[[Path], None]) -> None:
        """Let `write` make the next generation, atomically and verified; then delete one's own but for the last two."""
        existing = self.newest_first()
        path = self.folder / f"{self.unit}-{_serial(existing[0]) + 1 if existing else 1:09d}.safetensors"
        write(path)
        self.own.append(path)
        while len(self.own) > KEPT:
            self.own.pop(0).unlink(missing_ok=True)

    def drop(self) -> None:
        """Delete one's own: the unit is finished, and its manifest written. The newest go last, should this be cut."""
        while self.own:
            self.own.pop(0).unlink(missing_ok=True)


def _serial(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match["serial"]) if match else 0
