"""`Run`: one folder that holds every step of one execution of a recipe, and where each thing lies in it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ticketcli.errors import CorruptError, InputMissing, MismatchError, TicketError
from ticketcli.store.atomic import sync_folder
from ticketcli.store.manifest import NAME as MANIFEST
from ticketcli.store.manifest import OLD, Artifact, FileRecord, Manifest, read_manifest, write_manifest
from ticketcli.store.packed import KIND as PACKED
from ticketcli.store.seal import read_sealed, write_sealed
from ticketcli.store.tensorfile import read_header

RECIPE = "recipe.json"
LOCKS = ".locks"
FOREIGN = "foreign"  # the kind of a file that this tool did not write
STATE = "state"
METRICS = "metrics.jsonl"
_RECIPE_LIMIT = 2**26  # bytes
_GENERATION = re.compile(r"\d{3,}")


@dataclass(frozen=True)
class Run:
    """The run folder. Nothing in it is ever deleted by a stage; what is superseded moves to `.old/`."""

    root: Path

    def step_folder(self, step: str) -> Path:
        """Where a step's outputs, manifest, metrics and state lie."""
        return self.root / step

    def lock_path(self, step: str) -> Path:
        """The step's lock; outside its folder, which may be moved away."""
        return self.root / LOCKS / f"{step}.lock"

    def metrics_path(self, step: str) -> Path:
        """What was measured while the step worked, one JSON line an event."""
        return self.step_folder(step) / METRICS

    def manifest(self, step: str) -> Manifest | None:
        """What is recorded of a step, or None."""
        return read_manifest(self.step_folder(step))

    def steps(self) -> list[str]:
        """The names of the steps that have a manifest, or something in its place."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if os.path.lexists(path / MANIFEST))

    def save_recipe(self, text: str, *, source: str, overrides: Sequence[str], drops: Sequence[str]) -> None:
        """Remember what this run is a run of, for `status` and `report`.

        A copy of the recipe that is there already is not written: many jobs may begin at once, each with a copy.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        path, given = self.root / RECIPE, {"text": text, "overrides": list(overrides), "drops": list(drops)}
        with suppress(TicketError, OSError):
            known = read_sealed(path, limit=_RECIPE_LIMIT)
            if {key: known.get(key) for key in given} == given:
                return
        write_sealed(path, {**given, "source": source})

    def retire(self, step: str, units: Sequence[str] | None = None) -> Path | None:
        """Move a step's outputs, or those of some of its units, into a new generation below `.old/`.

        Returns the generation's folder, or None where there was nothing to keep.
        """
        folder = self.step_folder(step)
        if not folder.exists() or not any(folder.iterdir()):
            return None
        shelf = self.root / OLD / step
        shelf.mkdir(parents=True, exist_ok=True)
        taken = [int(path.name) for path in shelf.iterdir() if _GENERATION.fullmatch(path.name)]
        generation = shelf / f"{max(taken, default=0) + 1:03d}"
        if units is None:
            folder.rename(generation)
            sync_folder(shelf)
            sync_folder(self.root)
            return generation
        manifest = self.manifest(step)
        leaving = [name for name in units if manifest is not None and name in manifest.units]
        if manifest is None or not leaving:
            return None
        generation.mkdir()
        staying = {name: unit for name, unit in manifest.units.items() if name not in leaving}
        needed = {file.path for unit in staying.values() for out in unit.outputs for file in out.files.values()}
        write_manifest(generation, manifest)
        write_manifest(folder, manifest.model_copy(update={"units": staying, "status": "partial"}))
        for name in leaving:
            for output in manifest.units[name].outputs:
                for file in output.files.values():
                    path = folder / file.path
                    if file.path not in needed and path.is_file() and path.resolve().parent == folder.resolve():
                        path.rename(generation / path.name)
        sync_folder(generation)
        sync_folder(folder)
        return generation


def adopt(path: Path, *, foreign: bool = False) -> Artifact:
    """An artifact for a file named on the command line: the one its folder's manifest records, else its own header.

    File paths in the result are absolute. With `foreign` it is a file from elsewhere, known by its bytes alone.

    Raises:
        InputMissing: no such file.
        CorruptError: no checkpoint, decoder or mask of this tool's making.
        MismatchError: a packed ticket, which has to be imported first.
    """
    path = path.expanduser().absolute()
    if not path.is_file():
        raise InputMissing("no such file", where=str(path))
    if foreign:
        record = _absolute_record(FileRecord.of(path, base=path.parent), path.parent)
        return Artifact(name=path.name, kind=FOREIGN, files={"values": record}, about={})
    header = read_header(path)
    manifest = read_manifest(path.parent)
    if manifest is not None:
        for artifact in manifest.artifacts().values():
            for file in artifact.files.values():
                if file.locate(path.parent) == path.resolve():
                    return _absolute(artifact, path.parent)
    kind = header.metadata.get("kind")
    if kind is None:
        raise CorruptError(
            "this safetensors file does not say what it is",
            where=str(path),
            hint="bring weights from elsewhere in with 'ticket import'",
        )
    about = header.metadata["about"]
    record = _absolute_record(FileRecord.of(path, base=path.parent), path.parent)
    if kind == PACKED:
        raise MismatchError("this ticket is packed", where=str(path), hint=f"unpack it: ticket import {path.name}")
    if kind == "mask":
        return Artifact(name=path.name, kind="ticket", files={"mask": record}, about=about.get("ticket", {}))
    return Artifact(name=path.name, kind=kind, files={"values": record}, about=about)


def _absolute_record(record: FileRecord, base: Path) -> FileRecord:
    return record.model_copy(update={"path": str(record.locate(base))})


def _absolute(artifact: Artifact, base: Path) -> Artifact:
    files = {role: _absolute_record(record, base) for role, record in artifact.files.items()}
    return artifact.model_copy(update={"files": files})
