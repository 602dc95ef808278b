"""`ticket inspect`: what a checkpoint, a mask, a manifest or a step holds, without loading torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import outputs
from ticketcli.cli.target import find_target
from ticketcli.disk import parse_json, read_regular
from ticketcli.errors import CorruptError
from ticketcli.store.codec import GATES_KIND, KIND, read_mask
from ticketcli.store.manifest import Artifact, Manifest
from ticketcli.store.packed import KIND as PACKED
from ticketcli.store.packed import read_layout
from ticketcli.store.run_folder import Run
from ticketcli.store.tensorfile import check_bytes, content_digest, read_header
from ticketcli.units import human_bytes

_LIMIT = 64_000_000  # bytes


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, inspect)


def inspect(
    what: Annotated[str, typer.Argument(help="A .safetensors file, STEP, or STEP/OUTPUT.", autocompletion=outputs())],
    run: process.RunOption = Path("run"),
    as_json: process.JsonOption = False,
) -> None:
    """Show what a checkpoint, a mask or a step holds."""
    target = find_target(what, Run(run))
    if target.manifest is not None and target.output is None:
        if as_json:
            print(json.dumps(target.manifest.model_dump(mode="json")))
            return
        from ticketcli.report.units import units_table

        print(units_table(target.manifest))
        return
    output = target.output
    found = describe(target.path) if output is None else _describe_output(output, target.path)
    if as_json:
        print(json.dumps(found))
        return
    texts = [_as_text(one) for one in ([found] if output is None else found["files"].values())]
    print("\n\n".join([*texts, *_account(target.manifest, output)]))


def _account(manifest: Manifest | None, output: Artifact | None) -> list[str]:
    """Layer by layer, what making the output has cost, where that is known; and which channels are left."""
    from ticketcli.report.channels import channels_table
    from ticketcli.report.layer_errors import layers_table

    made = [unit for unit in manifest.units.values() if output in unit.outputs] if manifest and output else []
    return [text for unit in made for told in (layers_table, channels_table) if (text := told(unit.metrics))]


def _as_text(found: dict[str, Any]) -> str:
    from ticketcli.report.tensors import tensors_table

    if "tensors" in found:
        return tensors_table(found)
    values = [f"  {key}: {json.dumps(value)}" for key, value in found["values"].items()]
    return "\n".join([f"{found['file']}: {found['kind']}, {found['size']}", *values])


def _describe_output(output: Artifact, folder: Path) -> dict[str, Any]:
    """Every file of an output by its role."""
    found: dict[str, Any] = {}
    for role, record in output.files.items():
        record.check(folder, thorough=False)
        path = record.locate(folder)
        if path.suffix == ".safetensors":
            found[role] = describe(path)
            continue
        values = _values(path)
        found[role] = {"file": str(path), "size": human_bytes(record.size), "bytes": record.size,
                       "kind": output.kind, "content": record.content, "values": values}  # fmt: skip
    return {"output": output.name, "kind": output.kind, "files": found}


def _values(path: Path) -> dict[str, Any]:
    try:
        values = parse_json(read_regular(path, limit=_LIMIT))
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
    except ValueError as error:
        raise CorruptError(f"cannot use this file: {error}", where=str(path)) from None
    return values


def describe(path: Path) -> dict[str, Any]:
    """Kind, size, digest, provenance and tensors of a safetensors file; of masks and gates, exact counts by layer."""
    header = read_header(path)
    found: dict[str, Any] = {
        "file": str(path),
        "size": human_bytes(path.stat().st_size),
        "bytes": path.stat().st_size,
        "kind": header.metadata.get("kind", "foreign"),
        "content": content_digest(path, header),
    }
    if found["kind"] in (KIND, GATES_KIND):
        mask, about = read_mask(path, kind=found["kind"])
        about.pop("order", None)
        found |= {"about": about, "sparsity": mask.sparsity, "kept": mask.kept, "total": mask.total}
        found["tensors"] = [
            {"name": name, "shape": list(array.shape), "kept": mask.kept_by_name[name], "of": array.size}
            for name, array in mask.items()
        ]
        return found
    if found["kind"] == PACKED:
        return found | _packed(path)
    about = {key: value for key, value in header.metadata.get("about", {}).items() if key != "tree"}
    found["about"] = about
    found["total"] = sum(math.prod(info.shape) for info in header.tensors.values())
    found["tensors"] = [
        {"name": name, "shape": list(info.shape), "dtype": info.dtype} for name, info in header.tensors.items()
    ]
    return found


def _packed(path: Path) -> dict[str, Any]:
    """Of a packed ticket or a bundle: counts by layer, how many tensors are stored whole, and the heads."""
    layout = read_layout(path)
    check_bytes(path)
    kept = sum(layout.kept.values())
    return {
        "about": layout.about,
        "sparsity": 1 - kept / layout.total if layout.total else 0.0,
        "kept": kept,
        "total": layout.total,
        "values": layout.values,
        "whole": len(layout.rest),
        "heads": {head: len(names) for head, names in layout.heads.items()},
        "tensors": [
            {"name": name, "shape": list(shape), "kept": layout.kept[name], "of": math.prod(shape)}
            for name, shape in layout.shapes.items()
        ],
    }
