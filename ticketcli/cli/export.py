"""`ticket export`: tickets as files for elsewhere: packed, as ONNX, or several heads on one backbone."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import outputs, words
from ticketcli.cli.target import find_artifact
from ticketcli.data.sources import Sources
from ticketcli.errors import InputMissing, UsageError
from ticketcli.events import Note, PlainLines
from ticketcli.naming import PACKED
from ticketcli.report.lineage import evaluations, lineage
from ticketcli.store.run_folder import Run

if TYPE_CHECKING:
    from ticketcli.exports.packing import Written
    from ticketcli.exports.subject import Subject

_ONNX = ".onnx"
_CARD = ".md"


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, export)


def export(
    what: Annotated[
        list[str],
        typer.Argument(help="A STEP, STEP/OUTPUT or checkpoint; of a bundle two or more.", autocompletion=outputs()),
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="FILE", help=f"The new file; it ends in {PACKED} (packed) or {_ONNX}.")
    ],
    values: Annotated[
        str,
        typer.Option("--values", help="Packed: living weights as fp32 or bf16.", autocompletion=words("fp32", "bf16")),
    ] = "fp32",
    bundle: Annotated[
        bool, typer.Option("--bundle", help="Packed: one frozen backbone and the heads of all networks named.")
    ] = False,
    taps: Annotated[
        bool, typer.Option("--taps", help="ONNX: the backbone alone, its taps as outputs, as detectors read them.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="ONNX: quantise to int8, calibrated on training images.")
    ] = False,
    calibrate: Annotated[
        int, typer.Option("--calibrate", min=1, metavar="N", help="Training images that int8 is calibrated on.")
    ] = 256,
    test: Annotated[
        int, typer.Option("--test", min=1, metavar="N", help="At most so many images that int8 is measured on.")
    ] = 2000,
    data: Annotated[
        str, typer.Option("--data", metavar="NAME", help="Image set for int8 (default: the checkpoint's own).")
    ] = "",
    data_dir: process.DataDirOption = process.DATA_DIR,
    run: process.RunOption = Path("run"),
    as_json: process.JsonOption = False,
    quiet: process.QuietOption = False,
) -> None:
    """Write a network as a file for elsewhere, and a model card beside it (FILE.md).

    A packed ticket holds a bit a weight and the values of those that live; 'ticket import' brings it back. An ONNX file
    is compared with torch in ONNX Runtime before it is there. A bundle is of transfers that left the backbone frozen.
    """
    _require_sense(to, what, values=values, bundle=bundle, taps=taps, int8=int8, data=data)
    named = [find_artifact(one, Run(run)) for one in what]
    process.share_the_machine()
    from ticketcli.exports.bundle import export_bundle
    from ticketcli.exports.card import card
    from ticketcli.exports.onnx_file import OnnxOrder, export_onnx
    from ticketcli.exports.packing import export_packed
    from ticketcli.exports.quantized import Calibration
    from ticketcli.exports.subject import Subject
    from ticketcli.store.atomic import write_text

    lines = PlainLines("export")

    def tell(text: str) -> None:
        if not quiet:
            lines.on(Note(text))

    subjects = [
        Subject(
            ref,
            one.artifact,
            lineage(one.run, one.step, one.artifact.name),
            evaluations(one.run, one.artifact) if one.step else (),
        )
        for ref, one in zip(what, named, strict=True)
    ]
    stored: Any = values
    if to.name.endswith(_ONNX):
        sources = Sources(data_dir, tell=lambda event: None if quiet else lines.on(event))
        order = OnnxOrder(taps, Calibration(calibrate, test, data, sources) if int8 else None)
        written = export_onnx(subjects[0], to, order, tell)
    elif bundle:
        written = export_bundle(subjects, to, stored, tell)
    else:
        written = export_packed(subjects[0], to, stored)
    write_text(_card_of(to), card(written, subjects))
    _print(written, subjects, as_json=as_json, quiet=quiet)


def _require_sense(
    to: Path, what: Sequence[str], *, values: str, bundle: bool, taps: bool, int8: bool, data: str
) -> None:
    """Refuse before anything heavy is loaded."""
    is_onnx = to.name.endswith(_ONNX)
    if not is_onnx and not to.name.endswith(PACKED):
        stem = to.name.split(".")[0] or "NAME"
        hint = f"--to {stem}{PACKED}, or --to {stem}{_ONNX}"
        raise UsageError(f"'{to}' ends in neither {PACKED} nor {_ONNX}", where="--to", hint=hint)
    if values not in ("fp32", "bf16"):
        raise UsageError(f"--values is '{values}'", where="--values", hint="fp32 or bf16")
    for flag, given, needs_onnx in (
        ("--bundle", bundle, False), ("--values", values != "fp32", False),
        ("--taps", taps, True), ("--int8", int8, True),
    ):  # fmt: skip
        if given and is_onnx != needs_onnx:
            hint = f"--to NAME{_ONNX if needs_onnx else PACKED}"
            raise UsageError(f"{flag} is for {'ONNX' if needs_onnx else 'packed files'}", where=flag, hint=hint)
    if data and not int8:
        raise UsageError("--data is for --int8", where="--data", hint="leave it out")
    if len(what) > 1 and not bundle:
        raise UsageError("one network makes one file", where=what[1], hint="--bundle puts several on one backbone")
    for path in (to, _card_of(to)):
        if path.exists() or path.is_symlink():
            raise UsageError("refusing to replace an existing file", where=str(path), hint="name another with --to")
    if not to.parent.is_dir():
        raise InputMissing("no such folder", where=str(to.parent), hint="make it, or name another with --to")


def _card_of(to: Path) -> Path:
    return to.with_name(to.name + _CARD)


def _print(written: Written, subjects: Sequence[Subject], *, as_json: bool, quiet: bool) -> None:
    if as_json:
        files = {"file": str(written.file), "card": str(_card_of(written.file)), "kind": written.kind}
        print(json.dumps({**files, "of": [one.ref for one in subjects], **written.facts, "notes": written.notes}))
        return
    from ticketcli.report.exports import export_text

    print(export_text(written.kind, str(written.file), str(_card_of(written.file)), written.facts, written.notes))
    if written.kind == "packed" and not quiet:
        print(f"next: ticket import {shlex.quote(str(written.file))}", file=sys.stderr)
