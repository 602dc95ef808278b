"""`Sources`: where image sets lie on this machine, and how they are read. None of it changes a result."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ticketcli.events import Event

if TYPE_CHECKING:
    from ticketcli.data.images import Splits

_MOST_WORKERS = 8


def _nobody(event: Event) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class Sources:
    """What a process is told about image files.

    Attributes:
        root: the folder under which named sets, and relative paths, are looked up.
        download: whether a named set that is missing may be fetched; nothing is fetched without being asked.
        workers: processes that decode images beside each that trains; 0 decodes there, None picks a number.
        tell: hears of downloads and of long decoding, and may raise to stop them.
    """

    root: Path = Path("data")
    download: bool = False
    workers: int | None = None
    tell: Callable[[Event], None] = field(default=_nobody, compare=False)

    def locate(self, path: str | Path) -> Path:
        """A path as the user means it: `~` is home, and what is relative lies under `root`."""
        return self.root.expanduser() / Path(path).expanduser()

    @property
    def n_workers(self) -> int:
        """How many processes decode."""
        if self.workers is not None:
            return self.workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        trainers = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's word for those of this machine
        return min(max(1, cores // trainers), _MOST_WORKERS)


@dataclass(frozen=True)
class Wanted:
    """What the reader of a set is asked for.

    Attributes:
        sources: where to look.
        path: what follows the colon in folder:PATH.
        broken: what to do about image files that cannot be read: refuse or skip.
        images: how many training images to make, for sets whose images are made; None makes the usual number.
        size: their side in pixels; None makes the usual one.
        split_seed: fixes them.
        inner: the images that they are made of, split and narrowed as was asked.
    """

    sources: Sources
    path: str = ""
    broken: str = "refuse"
    images: int | None = None
    size: int | None = None
    split_seed: int = 0
    inner: Splits | None = None
