"""A folder of scripts that a user may edit: what is written again, and what is left as it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ticketcli.errors import CorruptError, StaleError
from ticketcli.store.atomic import write_json, write_text

RENDERED = "rendered.json"


@dataclass(frozen=True)
class Written:
    """Names of the files that were written, that were kept because a user edited them, and of scripts of no job now."""

    written: tuple[str, ...]
    edited: tuple[str, ...]
    leftover: tuple[str, ...]


def write_scripts(folder: Path, texts: Mapping[str, str], *, force: bool = False, dry: bool = False) -> Written:
    """Write the files that are not there or are as they were written before.

    An edited file stays while what it was made from stays the same. Nothing is deleted.

    Raises:
        StaleError: edited files whose recipe or profile has changed since, unless `force`; nothing is written then.
    """
    known = _recorded(folder)
    written, edited, clashing = [], [], []
    for name, text in texts.items():
        there = _digest_of(folder / name)
        if there is None or force or there in (known.get(name), _digest(text)):
            written += [name] if there != _digest(text) else []
        elif known.get(name) == _digest(text):
            edited.append(name)
        else:
            clashing.append(name)
    if clashing:
        raise StaleError(
            f"edited, and made from another recipe or profile than now: {', '.join(clashing)}",
            where=str(folder),
            hint="--force writes over them, --to FOLDER writes elsewhere",
        )
    gone = [name for name in known if name not in texts and (folder / name).is_file()]
    if not dry:
        folder.mkdir(parents=True, exist_ok=True)
        for name in written:
            write_text(folder / name, texts[name])
            if texts[name].startswith("#!"):
                mode = (folder / name).stat().st_mode
                (folder / name).chmod(mode | (mode & 0o444) >> 2)  # who may read may execute
        kept = {name: known[name] for name in gone}
        write_json(folder / RENDERED, {"files": kept | {name: _digest(text) for name, text in texts.items()}})
    leftover = [name for name in gone if name.endswith(".sh")]  # not recipes, from which queued jobs may still work
    return Written(tuple(written), tuple(edited), tuple(leftover))


def _recorded(folder: Path) -> dict[str, str]:
    path = folder / RENDERED
    if not path.is_file():
        return {}
    try:
        return {str(name): str(digest) for name, digest in json.loads(path.read_text())["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptError(
            f"the record of what was rendered is damaged: {error!r}", where=str(path), hint="render to another folder"
        ) from None


def _digest_of(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
