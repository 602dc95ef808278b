"""Where a named set lies on this machine; fetching it, when that was asked for."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ticketcli.data.sources import Sources
from ticketcli.errors import CorruptError, InputMissing
from ticketcli.events import Note, Progress
from ticketcli.store.atomic import write_atomic

_PIECE = 2**20  # bytes
_TIMEOUT = 60.0  # seconds without a byte


@dataclass(frozen=True)
class Remote:
    """A published file, and the md5 that its publisher or torchvision gives for it: checked after a download only."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        """Of the file."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Places:
    """Where a set may lie.

    Attributes:
        name: of the set.
        folders: relative to the data folder, or absolute; the first that is complete is taken.
        files: those that make a folder complete, each under any of its names.
        remotes: what to fetch into the first folder when it is missing; none where that is not possible.
    """

    name: str
    folders: tuple[str, ...]
    files: tuple[tuple[str, ...], ...]
    remotes: tuple[Remote, ...] = ()

    def find(self, sources: Sources) -> Path | None:
        """The first complete folder, or None."""
        candidates = [sources.locate(folder) for folder in self.folders]
        return next((folder for folder in candidates if not self._missing(folder)), None)

    def find_or_fetch(self, sources: Sources) -> Path:
        """The first complete folder; fetched into the first of all if that was asked for.

        Raises:
            InputMissing: it is not here; says what is expected and where.
        """
        found = self.find(sources)
        if found is not None:
            return found
        if sources.download and self.remotes:
            folder = sources.locate(self.folders[0])
            for remote in self.remotes:
                fetch(remote, folder, sources)
            if not self._missing(folder):
                return folder
        raise self._not_here(sources)

    def _missing(self, folder: Path) -> Sequence[str]:
        return [names[0] for names in self.files if not any((folder / name).is_file() for name in names)]

    def _not_here(self, sources: Sources) -> InputMissing:
        candidates = [sources.locate(folder) for folder in self.folders]
        begun = next((folder for folder in candidates if len(self._missing(folder)) < len(self.files)), None)
        what = f"the image set '{self.name}' is not here"
        wanted = [names[0] for names in self.files]
        if begun is not None:
            what, candidates = f"the image set '{self.name}' is incomplete", [begun]
            wanted = list(self._missing(begun))
        hint = f"expected {', '.join(wanted)}; name the data folder with --data-dir"
        hint += ", or fetch the set with --download" if self.remotes and not sources.download else ""
        return InputMissing(what, where=" or ".join(str(folder) for folder in candidates), hint=hint)


def fetch(remote: Remote, folder: Path, sources: Sources) -> None:
    """Download a file, unless it is there; it appears whole and checked, or not at all.

    Raises:
        InputMissing: it cannot be had, or nobody answers.
        CorruptError: what came is not what was published.
    """
    target = folder / remote.name
    if target.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    sources.tell(Note(f"fetching {remote.url} to {target}"))
    try:
        with urllib.request.urlopen(remote.url, timeout=_TIMEOUT) as answer:
            write_atomic(target, lambda temporary: _save(answer, temporary, remote, sources))
    except (OSError, ValueError) as error:
        hint = "fetch it by other means and put it there, or name the data folder with --data-dir"
        raise InputMissing(f"cannot fetch {remote.url}: {error}", where=str(target), hint=hint) from None


def _save(answer: Any, temporary: Path, remote: Remote, sources: Sources) -> None:
    found, done = hashlib.md5(usedforsecurity=False), 0
    total = int(answer.headers.get("Content-Length") or 0)
    with temporary.open("wb") as file:
        while piece := answer.read(_PIECE):
            file.write(piece)
            found.update(piece)
            done += len(piece)
            sources.tell(Progress(f"fetching {remote.name}", done, max(total, done)))
    if found.hexdigest() != remote.md5:
        raise CorruptError(f"what was fetched is not what was published: md5 {found.hexdigest()}", where=remote.url)
