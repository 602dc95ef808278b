"""`ticket inspect`: what a checkpoint, a mask, a manifest or a step holds, without loading torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.errors import InputMissing
from ticketcli.store.codec import KIND, read_mask
from ticketcli.store.manifest import read_manifest
from ticketcli.store.run_folder import Run
from ticketcli.store.tensorfile import content_digest, read_header
from ticketcli.units import human_bytes


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, inspect)


def inspect(
    what: Annotated[str, typer.Argument(help="A .safetensors file, or the name of a step.")],
    run: process.RunOption = Path("run"),
    as_json: process.JsonOption = False,
) -> None:
    """Show what a checkpoint, a mask or a step holds."""
    path = Path(what)
    manifest = read_manifest(path) if path.is_dir() else Run(run).manifest(what)
    if manifest is not None:
        if as_json:
            print(json.dumps(manifest.model_dump(mode="json")))
            return
        from ticketcli.report.units import units_table

        print(units_table(manifest))
        return
    if not path.is_file():
        steps = ", ".join(Run(run).steps())
        raise InputMissing(
            f"'{what}' is neither a file nor a step", where=str(run), hint=f"steps here: {steps or 'none'}"
        )
    found = describe(path)
    if as_json:
        print(json.dumps(found))
        return
    from ticketcli.report.tensors import tensors_table

    print(tensors_table(found))


def describe(path: Path) -> dict[str, Any]:
    """Kind, size, digest, provenance and tensors of a safetensors file; of a mask, its exact counts by layer."""
    header = read_header(path)
    found: dict[str, Any] = {
        "file": str(path),
        "size": human_bytes(path.stat().st_size),
        "bytes": path.stat().st_size,
        "kind": header.metadata.get("kind", "foreign"),
        "content": content_digest(path, header),
    }
    if found["kind"] == KIND:
        mask, about = read_mask(path)
        found |= {"about": about, "sparsity": mask.sparsity, "kept": mask.kept, "total": mask.total}
        found["tensors"] = [
            {"name": name, "shape": list(array.shape), "kept": mask.kept_by_name[name], "of": array.size}
            for name, array in mask.items()
        ]
        return found
    about = {key: value for key, value in header.metadata.get("about", {}).items() if key != "tree"}
    found["about"] = about
    found["total"] = sum(math.prod(info.shape) for info in header.tensors.values())
    found["tensors"] = [
        {"name": name, "shape": list(info.shape), "dtype": info.dtype} for name, info in header.tensors.items()
    ]
    return found
