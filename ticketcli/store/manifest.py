"""`manifest.json`: what a step was asked for, what it took in and what it made. Written last; done means this."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ticketcli.canon import digest, file_sha256
from ticketcli.disk import opened
from ticketcli.errors import CorruptError, InputMissing
from ticketcli.store.seal import read_sealed, write_sealed
from ticketcli.store.tensorfile import content_digest, read_header

FORMAT = 1
NAME = "manifest.json"
OLD = ".old"  # where superseded generations lie, as .old/STEP/001
_LIMIT = 64_000_000  # bytes: a thousand rounds take about two million


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRecord(_Record):
    """One file: its path relative to the step's folder, size in bytes, time of change, and both digests."""

    path: str = Field(min_length=1)
    size: int = Field(ge=0)
    mtime_ns: int
    sha256: str
    content: str

    @field_validator("path")
    @classmethod
    def _stays_in_the_run(cls, path: str) -> str:
        """A path out of the run folder is absolute, as those of adopted files are; a relative one never leads there."""
        if "\0" in path:
            raise ValueError("a path holds a zero byte")
        if Path(os.path.normpath(path)).parts[:2] == (os.pardir, os.pardir):
            raise ValueError(f"the path {path!r} leaves the run folder")
        return path

    @classmethod
    def of(cls, path: Path, *, base: Path) -> FileRecord:
        """Measure a file as it lies on disk.

        Raises:
            InputMissing: no such file.
            CorruptError: no regular file, or tensors in it that cannot be used.
        """
        with opened(path) as file:
            stat = os.fstat(file.fileno())
        if path.suffix == ".safetensors":
            read_header(path)
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
        """The file's path, given the step's folder, or that of an old generation, whose neighbours are the step's."""
        if self.path.startswith(os.pardir) and base.absolute().parent.parent.name == OLD:
            base = base.absolute().parents[2] / base.absolute().parent.name
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
    """One finished unit of work, such as a pruning round: its key, what it made and what it measured.

    `metrics_sha256` is of the bytes of `metrics.jsonl` up to `metrics["metrics_end"]`; "" where it was not taken.
    `opened` are the sets of image files that were opened by then, each with the digest of its list of files.
    """

    key: str
    outputs: tuple[Artifact, ...]
    metrics: dict[str, Any]
    seconds: float
    finished: str
    environment: dict[str, Any]
    metrics_sha256: str = ""
    opened: dict[str, str] = {}

    @field_validator("metrics")
    @classmethod
    def _ends_somewhere(cls, metrics: dict[str, Any]) -> dict[str, Any]:
        end = metrics.get("metrics_end", 0)
        if type(end) is not int or end < 0:
            raise ValueError("metrics_end is no number of bytes")
        return metrics

    @property
    def metrics_end(self) -> int:
        """Where in `metrics.jsonl` the unit ends, in bytes."""
        return int(self.metrics.get("metrics_end", 0))


class Manifest(_Record):
    """All that is known of a step."""

    format: int = FORMAT
    step: str
    stage: str
    stage_version: int
    code_version: str
    config: dict[str, Any]
    config_digest: str
    inputs: dict[str, dict[str, Any]]
    units: dict[str, UnitRecord]
    status: Literal["partial", "done"]

    @field_validator("inputs")
    @classmethod
    def _names_files(cls, inputs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for record in inputs.get("files", {}).values():
            FileRecord.model_validate(record)
        return inputs

    def artifacts(self) -> dict[str, Artifact]:
        """Output name -> artifact, over all finished units."""
        return {artifact.name: artifact for unit in self.units.values() for artifact in unit.outputs}


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a step's folder, or None where there is none yet.

    Raises:
        CorruptError: it is there but cannot be used.
    """
    path = folder / NAME
    hint = "restore it, or move the folder away and run the step again"
    try:
        return _parsed(path, _file_state(path))
    except InputMissing:
        if not os.path.lexists(path):
            return None
        raise CorruptError("the manifest cannot be read", where=str(path), hint=hint) from None
    except CorruptError as error:
        raise CorruptError(f"the manifest is damaged: {error.what}", where=str(path), hint=hint) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        what = f"the manifest is damaged: {place}: {first['msg']}"
        raise CorruptError(what, where=str(path), hint=hint) from None


def _file_state(path: Path) -> tuple[int, ...]:
    """What changes with a file, whoever writes it. It is opened, for a shared disk may answer `stat` from memory."""
    with opened(path) as file:
        now = os.fstat(file.fileno())
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


@lru_cache(maxsize=4096)
def _parsed(path: Path, _state: tuple[int, ...]) -> Manifest:
    """The manifest in a file that is in this state; a report asks for each some fifteen times."""
    raw = read_sealed(path, limit=_LIMIT)
    if raw.get("format") != FORMAT:
        raise CorruptError(f"manifest format {raw.get('format')}, this version reads {FORMAT}", where=str(path))
    return Manifest.model_validate(raw)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it atomically: until this returns, nothing that the manifest newly names counts as done."""
    write_sealed(folder / NAME, manifest.model_dump(mode="json"))


def differences(mapping: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys at which two configs differ, for telling a user why a step is stale."""
    return sorted(key for key in mapping.keys() | other.keys() if mapping.get(key) != other.get(key))
