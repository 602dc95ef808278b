"""`manifest.json`: what a step was asked for, what it took in and what it made. Written last; done means this."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ticketcli.canon import digest, file_sha256
from ticketcli.errors import CorruptError, InputMissing
from ticketcli.store.atomic import write_json
from ticketcli.store.tensorfile import content_digest

FORMAT = 1
NAME = "manifest.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRecord(_Record):
    """One file: its path relative to the step's folder, size in bytes, time of change, and both digests."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    content: str

    @classmethod
    def of(cls, path: Path, *, base: Path) -> FileRecord:
        """Measure a file as it lies on disk."""
        stat = path.stat()
        sha = file_sha256(path)
        content = content_digest(path) if path.suffix == ".safetensors" else sha
        return cls(
            path=_relative(path, base),
            size=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            sha256=sha,
            content=content,
        )

    def locate(self, base: Path) -> Path:
        """The file's path, given the step's folder."""
        return (base / self.path).resolve()

    def check(self, base: Path, *, thorough: bool) -> None:
        """Refuse a file that is not the one recorded.

        A file of recorded size and time is trusted, unless `thorough`; otherwise its bytes are hashed.

        Raises:
            InputMissing: it is gone.
            CorruptError: it was truncated or changed.
        """
        path = self.locate(base)
        hint = "restore it, or delete it and run the step that makes it again"
        if not path.is_file():
            raise InputMissing("a recorded file is gone", where=str(path), hint=hint)
        stat = path.stat()
        if stat.st_size != self.size:
            raise CorruptError(
                f"the file has {stat.st_size} bytes, {self.size} were written", where=str(path), hint=hint
            )
        if (thorough or stat.st_mtime_ns != self.mtime_ns) and file_sha256(path) != self.sha256:
            raise CorruptError("the file's bytes are not the ones that were written", where=str(path), hint=hint)


def _relative(path: Path, base: Path) -> str:
    """`path` as seen from `base` when both lie in one run folder (which may be moved), else absolute."""
    path, base = path.resolve(), base.resolve()
    run = base.parent
    return os.path.relpath(path, base) if path.is_relative_to(run) else str(path)


class Artifact(_Record):
    """The only thing that steps exchange: a named output, its kind, its files by role, and what it is about."""

    name: str
    kind: str
    files: dict[str, FileRecord]
    about: dict[str, Any]

    @property
    def identity(self) -> str:
        """A digest of kind, contents and `about`: what a consumer's result can depend on."""
        contents = {role: file.content for role, file in self.files.items()}
        return digest({"kind": self.kind, "contents": contents, "about": self.about})


class UnitRecord(_Record):
    """One finished unit of work, such as a pruning round: its key, what it made and what it measured."""

    key: str
    outputs: tuple[Artifact, ...]
    metrics: dict[str, Any]
    seconds: float
    finished: str
    environment: dict[str, Any]


class Manifest(_Record):
    """All that is known of a step."""

    format: int = FORMAT
    step: str
    stage: str
    stage_version: int
    code_version: str
    config: dict[str, Any]
    config_digest: str
    inputs: dict[str, Any]
    units: dict[str, UnitRecord]
    status: str

    def artifacts(self) -> dict[str, Artifact]:
        """Output name -> artifact, over all finished units."""
        return {artifact.name: artifact for unit in self.units.values() for artifact in unit.outputs}


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a step's folder, or None where there is none yet.

    Raises:
        CorruptError: it is there but cannot be used.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        raw = json.loads(path.read_text())
        if isinstance(raw, dict) and raw.get("format") != FORMAT:
            raise CorruptError(f"manifest format {raw.get('format')}, this version reads {FORMAT}", where=str(path))
        return Manifest.model_validate(raw)
    except (ValueError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise CorruptError(
            f"the manifest is damaged: {first}",
            where=str(path),
            hint="restore it, or move the folder away and run the step again",
        ) from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it atomically: until this returns, nothing that the manifest newly names counts as done."""
    write_json(folder / NAME, manifest.model_dump(mode="json"))


def differences(mapping: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys at which two configs differ, for telling a user why a step is stale."""
    return sorted(key for key in mapping.keys() | other.keys() if mapping.get(key) != other.get(key))
