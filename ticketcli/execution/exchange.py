"""What steps exchange, on disk: inputs are read and verified, outputs written and measured."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ticketcli.data.sources import Sources
from ticketcli.naming import PACKED
from ticketcli.plan import Step
from ticketcli.stages.job import Job
from ticketcli.store.atomic import write_bytes, write_json
from ticketcli.store.codec import read_mask, write_mask
from ticketcli.store.manifest import Artifact, FileRecord
from ticketcli.store.run_folder import FOREIGN
from ticketcli.tensors.files import read_checkpoint, write_checkpoint
from ticketcli.tensors.foreign import read_weights
from ticketcli.tensors.packed import read_packed
from ticketcli.training.yields import Loaded, Output, State


def load_input(ref: str, artifact: Artifact) -> Loaded:
    """Read an input's files, each verified against its recorded digest first."""
    for record in artifact.files.values():
        record.check(Path("/"), thorough=True)
    sizes = {role: record.size for role, record in artifact.files.items()}
    loaded = Loaded(ref, artifact.kind, artifact.about, identity=artifact.identity, sizes=sizes)
    if artifact.kind == FOREIGN:
        return _from_elsewhere(loaded, Path(artifact.files["values"].path))
    if "values" in artifact.files:
        loaded = replace(loaded, values=read_checkpoint(Path(artifact.files["values"].path)).tensors)
    if "mask" in artifact.files:
        loaded = replace(loaded, mask=read_mask(Path(artifact.files["mask"].path))[0])
    return loaded


def _from_elsewhere(loaded: Loaded, path: Path) -> Loaded:
    """A file that no step of a run made: a packed ticket, or somebody's weights."""
    if not path.name.endswith(PACKED):
        return replace(loaded, values=read_weights(path))
    packed = read_packed(path)
    return replace(loaded, values=packed.tensors, mask=packed.mask, about=packed.about, heads=packed.heads)


def job_of(
    step: Step,
    folder: Path,
    before: tuple[Artifact, ...],
    resume: State | None,
    device: torch.device,
    sources: Sources,
) -> Job[Any]:
    """A step as the work order of its stage, its inputs read.

    Args:
        step: what is to do.
        folder: the step's, in the run's.
        before: the outputs of the unit before the first that is to do.
        resume: the saved state of that unit, or None.
        device: where to compute.
        sources: where image sets lie, and how they are read.
    """
    inputs = {role: load_input(bound.ref, bound.artifact) for role, bound in step.inputs.items() if not bound.series}
    series = {
        role: {name: load_input(f"{bound.ref}/{name}", artifact) for name, artifact in bound.artifacts.items()}
        for role, bound in step.inputs.items()
        if bound.series
    }
    last = None
    if before:
        files = {
            role: record.model_copy(update={"path": str(record.locate(folder))})
            for role, record in before[0].files.items()
        }
        last = load_input(before[0].name, before[0].model_copy(update={"files": files}))
    return Job(step.recipe.config, inputs, series, step.todo, last, resume, device, sources)


def write_output(
    folder: Path, output: Output, inputs: Mapping[str, FileRecord], made: Mapping[str, Artifact]
) -> Artifact:
    """Write an output's files into the step's folder.

    Args:
        folder: the step's, in the run's.
        output: what a stage produced.
        inputs: the file of each input that holds values, by role, for outputs whose values are an input's.
        made: what the step made before, for outputs whose mask is an earlier one's.
    """
    files: dict[str, FileRecord] = {}
    if output.kind == "metrics":
        path = folder / f"{output.stem}.json"
        write_json(path, dict(output.about))
        files["metrics"] = FileRecord.of(path, base=folder)
        for name, content in output.files.items():
            write_bytes(folder / name, content)
            files[name] = FileRecord.of(folder / name, base=folder)
        return Artifact(name=output.name, kind=output.kind, files=files, about={})
    if isinstance(output.values, str):
        files["values"] = _as_seen_from(folder, inputs[output.values])
    else:
        path = folder / f"{output.stem}.safetensors"
        write_checkpoint(path, output.values, kind=output.kind, about=dict(output.about))
        files["values"] = FileRecord.of(path, base=folder)
    if output.mask_of:
        files["mask"] = made[output.mask_of].files["mask"]
    elif output.mask is not None:
        path = folder / f"{output.stem}.mask.safetensors"
        about = {"ticket": dict(output.about), "values": files["values"].content, "sparsity": output.mask.sparsity}
        write_mask(path, output.mask, about)
        files["mask"] = FileRecord.of(path, base=folder)
    return Artifact(name=output.name, kind=output.kind, files=files, about=dict(output.about))


def _as_seen_from(folder: Path, record: FileRecord) -> FileRecord:
    """An input's file record, its path made relative to this step's folder where both lie in the run."""
    path, here = Path(record.path), folder.resolve()
    relative = os.path.relpath(path, here) if path.is_relative_to(here.parent) else str(path)
    return record.model_copy(update={"path": relative})
