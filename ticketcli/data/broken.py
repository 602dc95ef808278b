"""Finding the files that cannot be decoded, once: what was found is remembered beside no set, in the user's cache."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from ticketcli.data.lazy import Files
from ticketcli.data.listing import Listing, digest
from ticketcli.data.sources import Sources
from ticketcli.data.stream import stream
from ticketcli.errors import CorruptError, TicketError
from ticketcli.events import Note, Progress
from ticketcli.store.atomic import write_json

_CHUNK = 64
_SIZE = 8  # pixels: a JPEG is read whole, but at the least scale


class _Check(Dataset[Any]):
    """Task k: the indices in the k-th chunk of files that cannot be decoded."""

    def __init__(self, files: Files) -> None:
        self.files = files

    def __getitem__(self, task: int) -> list[int]:
        broken = []
        for index in range(task * _CHUNK, min((task + 1) * _CHUNK, len(self.files))):
            try:
                self.files.read(index, _SIZE)
            except CorruptError:
                broken.append(index)
        return broken


def find_broken(root: Path, files: Listing, sources: Sources) -> list[str]:
    """Names of the files under `root` that cannot be decoded. All are tried the first time, then it is remembered.

    What is remembered counts for as long as names, sizes and times of change of all files stay.
    """
    memory = _cache() / f"{digest(files, with_times=True)}.json"
    known = _recall(memory)
    if known is not None:
        return known
    n_chunks = -(-len(files.names) // _CHUNK)
    sources.tell(Note(f"decoding all {len(files.names):,} image files once, to find the broken ones"))
    named, broken = Files(root, files.names), []
    for task, found in enumerate(stream(_Check(named), range(n_chunks), sources.n_workers)):
        broken += [named.name(index) for index in found]
        done = min((task + 1) * _CHUNK, len(files.names))
        sources.tell(Progress("checking images", done, len(files.names), {"broken": float(len(broken))}))
    _remember(memory, broken, sources)
    return broken


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or ""
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"  # a relative one does not count (XDG)
    return base / "ticketcli" / "broken"


def _recall(memory: Path) -> list[str] | None:
    try:
        names = json.loads(memory.read_text())["broken"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _remember(memory: Path, broken: Sequence[str], sources: Sources) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_json(memory, {"schema": 1, "broken": list(broken)})
    except (OSError, TicketError) as error:  # only the next start pays for it
        sources.tell(Note(f"which images are broken cannot be remembered in {memory.parent}: {error}"))
