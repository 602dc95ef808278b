"""What sets with annotations share: broken entries refused or told and left out, and which part serves as which."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ticketcli.annotations.faults import Fault, summary
from ticketcli.annotations.pictures import Picture
from ticketcli.data.folder import IMAGENET
from ticketcli.data.instances import InstanceSet
from ticketcli.data.sources import Sources
from ticketcli.data.splitting import Whole
from ticketcli.errors import CorruptError
from ticketcli.events import Note

LARGEST_SIDE = 800  # pixels: the shorter side at which Detectron2 tests on COCO
_FIRST, _LISTED = 3, 20  # faults that are told where a stage ends; of each kind where it goes on


def check_command(root: Path) -> str:
    """What to type to see all faults of a set."""
    return f"ticket data check {shlex.quote(str(root))}"


def refuse(root: Path, broken: Mapping[str, Sequence[Fault]]) -> None:
    """End if anything is broken.

    Args:
        root: of the set.
        broken: by file or part.

    Raises:
        CorruptError: says how much, and the first few places.
    """
    lines = [f"{file} {fault}" for file, faults in broken.items() for fault in faults]
    if lines:
        more = f"; and {len(lines) - _FIRST:,} more" if len(lines) > _FIRST else ""
        raise CorruptError(
            f"{len(lines):,} broken entr{'y' if len(lines) == 1 else 'ies'}: {'; '.join(lines[:_FIRST])}{more}",
            where=str(root),
            hint=f"'{check_command(root)} --all' lists them; mend them, or leave them out with --skip-bad "
            "(data.broken: skip)",
        )


def leave_out(root: Path, broken: Mapping[str, Sequence[Fault]], sources: Sources) -> list[str]:
    """List what is left out; returns a line for each fault."""
    for file, faults in broken.items():
        if faults:
            lines = [
                f"left out of {file}; '{check_command(root)} --all' names every place",
                *summary(faults, first=_LISTED),
            ]
            sources.tell(Note("\n".join(lines)))
    return [f"{file} {fault}" for file, faults in broken.items() for fault in faults]


def require_training_images(pictures: Sequence[Picture], root: Path) -> None:
    """End if nothing is left to train on.

    Raises:
        CorruptError: there is no picture.
    """
    if not pictures:
        raise CorruptError("no training image is left", where=str(root), hint=check_command(root))


def usual_side(pictures: Sequence[Picture]) -> int:
    """The middle of the images' shorter sides, in pixels, and not above COCO's."""
    sides = sorted(min(picture.height, picture.width) for picture in pictures)
    return min(LARGEST_SIDE, sides[len(sides) // 2])


def whole_of(
    parts: Mapping[str, InstanceSet], *, share: float = 0.1, skipped: Sequence[str] = (), files: str = ""
) -> Whole:
    """Train, val and test in their roles: without test, val is tested on, and validation will be cut off train."""
    test, validation = (parts["test"], parts.get("val")) if "test" in parts else (parts.get("val"), None)
    return Whole(parts["train"], test, IMAGENET, validation, share, tuple(skipped), files)
