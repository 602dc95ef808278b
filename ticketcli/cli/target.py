"""What a word on the command line names: a file, a step of the run, or one of a step's outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ticketcli.errors import InputMissing, MismatchError, did_you_mean
from ticketcli.plan import default_output
from ticketcli.report.lineage import run_of
from ticketcli.store.codec import read_mask
from ticketcli.store.manifest import Artifact, Manifest, read_manifest
from ticketcli.store.mask import Mask
from ticketcli.store.run_folder import Run, adopt


@dataclass(frozen=True)
class Target:
    """A step's folder and manifest, with one of its outputs where one was named; or a lone file."""

    path: Path
    manifest: Manifest | None = None
    output: Artifact | None = None


def find_target(what: str, run: Run) -> Target:
    """Resolve `STEP`, `STEP/OUTPUT`, a step's folder, or a file.

    Raises:
        InputMissing: it is none of these; names what there is.
    """
    path = Path(what)
    if path.is_dir() and (manifest := read_manifest(path)) is not None:
        return Target(path, manifest)
    step, _, output = what.partition("/")
    manifest = run.manifest(step) if step in run.steps() else None
    if manifest is not None:
        return Target(run.step_folder(step), manifest, _output(manifest, output, what) if output else None)
    if path.is_file():
        return Target(path)
    hint = did_you_mean(step, run.steps()) or "name a run folder with --run"
    raise InputMissing(f"'{what}' is neither a file nor a step", where=str(run.root), hint=hint)


def _output(manifest: Manifest, name: str, what: str) -> Artifact:
    made = manifest.artifacts()
    if name not in made:
        hint = "it made " + ", ".join(made) if made else "it has finished nothing yet"
        raise InputMissing(f"no '{name}' from step '{manifest.step}'", where=what, hint=hint)
    return made[name]


@dataclass(frozen=True)
class Named:
    """An output with absolute file paths, and the step and the run that made it, as far as they are known."""

    artifact: Artifact
    run: Run
    step: str = ""


def find_artifact(what: str, run: Run) -> Named:
    """The output that a word names: a file, `STEP/OUTPUT`, or what `STEP` stands for.

    Raises:
        InputMissing: no such thing, or not made yet.
        CorruptError: a file that is no checkpoint and no mask of this tool's making.
    """
    target = find_target(what, run)
    if target.manifest is None:
        home, step = run_of(target.path.absolute())
        known = home.manifest(step)
        return Named(adopt(target.path), home, step if known is not None else "")
    output = target.output or _output(target.manifest, default_output(target.manifest), what)
    absolute = {
        role: record.model_copy(update={"path": str(record.locate(target.path))})
        for role, record in output.files.items()
    }
    return Named(output.model_copy(update={"files": absolute}), Run(target.path.parent), target.manifest.step)


@dataclass(frozen=True)
class Found:
    """A mask, what its file says about itself, and the digest of its bits."""

    mask: Mask
    about: dict[str, Any]
    content: str


def load_mask(what: str, run: Run) -> Found:
    """The mask of a ticket: of a mask file, of `STEP/OUTPUT`, or of the output that `STEP` stands for.

    The file is checked against its recorded digest where there is one.

    Raises:
        InputMissing: no such thing, or not made yet.
        MismatchError: it has no mask.
        CorruptError: the file is damaged.
    """
    target = find_target(what, run)
    if target.manifest is None:
        artifact, base = adopt(target.path), target.path.parent
    else:
        artifact = target.output or _output(target.manifest, default_output(target.manifest), what)
        base = target.path
    record = artifact.files.get("mask")
    if record is None:
        raise MismatchError(
            f"this {artifact.kind} has no mask", where=what, hint="name a mask file, or a step that makes tickets"
        )
    record.check(base, thorough=True)
    return Found(*read_mask(record.locate(base)), record.content)
