"""`ticket data`: what is wrong with a set of images and annotations; a set written out as files."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.data.sources import Sources
from ticketcli.errors import InputMissing, UsageError

if TYPE_CHECKING:
    from ticketcli.annotations.faults import Fault

_FIRST = 3  # places that are named of each kind
_COLUMNS = ("images", "empty", "objects", "small", "medium", "large", "crowd", "classes")


def command(_name: str) -> Any:
    """The group of commands, for the lazy group."""
    return process.command_group(_root, check=check, write=write)


def _root() -> None:
    """Check the files of a set with outlined objects or label images; write a set out in COCO's format."""


def check(
    path: Annotated[
        Path, typer.Argument(help="A folder in one of the layouts, or one file of annotations; here or in --data-dir.")
    ],
    images: Annotated[Path | None, typer.Option("--images", help="Where the images of one file lie.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Name every place, not the first few of each kind.")] = False,
    data_dir: process.DataDirOption = process.DATA_DIR,
    as_json: process.JsonOption = False,
    quiet: process.QuietOption = False,
) -> None:
    """Say in one pass what a set holds, and all that is wrong with it. Exits with 6 if anything is broken.

    Every entry is looked at, and of every image file its first and last bytes. Notes are told, and break nothing.
    """
    if not path.exists():
        path = Sources(data_dir).locate(path)
    _require_some(path, images)
    found = _label_images(path, quiet) if path.is_dir() and _has_labels(path) else _objects(path, images, quiet)
    n_broken = sum(not fault.is_note for _, faults in found.values() for fault in faults)
    if as_json:
        parts = {
            name: {"counts": counts, "faults": [_as_json(fault) for fault in faults]}
            for name, (counts, faults) in found.items()
        }
        print(json.dumps({"path": str(path), "parts": parts, "broken": n_broken}))
    else:
        print(_as_text(found, n_broken, None if every else _FIRST))
    if n_broken:
        raise typer.Exit(6)


def _require_some(path: Path, images: Path | None) -> None:
    if not path.exists():
        raise InputMissing("no such file or folder", where=str(path))
    if images is not None and path.is_dir():
        raise UsageError("--images goes with one file of annotations", where=str(path), hint="name the file")
    if images is not None and not images.is_dir():
        raise InputMissing("no such folder", where=str(images))


Checked = Mapping[str, tuple[Mapping[str, int], Sequence["Fault"]]]  # by part: counts, faults


def _has_labels(path: Path) -> bool:
    from ticketcli.annotations.label_images import has_label_images

    return has_label_images(path)


def _objects(path: Path, images: Path | None, quiet: bool) -> Checked:
    from ticketcli.annotations.census import census
    from ticketcli.annotations.inspection import inspect
    from ticketcli.annotations.layout import Part, find_parts, part_of_file

    parts = list(find_parts(path).values()) if path.is_dir() else [part_of_file(path, images)]

    def tell(part: Part, done: int, of: int) -> None:
        if not done and not quiet:
            print(f"data: {part.file}, {of:,} images", file=sys.stderr, flush=True)

    return {
        one.part.file.name if not one.part.name else one.part.name: (census(one.annotations), one.faults)
        for one in inspect(parts, tell=tell)
    }


def _label_images(path: Path, quiet: bool) -> Checked:
    from ticketcli.annotations.label_images import class_names, find_labelled

    classes = {"classes": len(names)} if (names := class_names(path)) else {}
    if not quiet:
        print(f"data: {path}, label images", file=sys.stderr, flush=True)
    found = find_labelled(path)
    return {name: ({"images": len(part.pictures), **classes}, part.faults) for name, part in found.items()}


def _as_json(fault: Fault) -> dict[str, Any]:
    ids = {"image": fault.image, "annotation": fault.annotation}
    known = {name: number for name, number in ids.items() if number is not None}
    return {"kind": fault.kind, "note": fault.is_note, "where": fault.where, "what": fault.what, **known}


def _as_text(found: Checked, n_broken: int, first: int | None) -> str:
    from ticketcli.annotations.faults import summary
    from ticketcli.report.render import table

    columns = [column for column in _COLUMNS if any(column in counts for counts, _ in found.values())]
    rows = [[name, *(_cell(counts, column) for column in columns)] for name, (counts, _) in found.items()]
    lines = [table(["part", *columns], rows, right=columns)]
    for name, (_, faults) in found.items():
        if faults:
            lines += ["", f"{name}:", *(f"  {line}" for line in summary(faults, first=first))]
    notes = sum(len(faults) for _, faults in found.values()) - n_broken
    told = f", {notes:,} note{'s' * (notes != 1)}" if notes else ""
    if not n_broken:
        return "\n".join([*lines, "", f"nothing is broken{told}"])
    kinds = Counter(fault.kind for _, faults in found.values() for fault in faults if not fault.is_note)
    what = f"{n_broken:,} fault{'s' * (n_broken != 1)} of {len(kinds)} kind{'s' * (len(kinds) != 1)}{told}"
    hint = "" if first is None or n_broken <= first else "; --all names every place"
    return "\n".join([*lines, "", f"{what}{hint}", "a stage stops at them, unless --skip-bad leaves them out"])


def _cell(counts: Mapping[str, int], column: str) -> str:
    if column not in counts:
        return "-"
    return f"{counts['present']:,} of {counts[column]:,}" if column == "classes" and "present" in counts else (
        f"{counts[column]:,}"
    )  # fmt: skip


def write(
    name: Annotated[str, typer.Argument(help="A set with outlined objects, such as scenes or scenes:SET.")],
    to: Annotated[Path, typer.Option("--to", help="The folder to write; made if it is not there.")],
    image_size: Annotated[int | None, typer.Option("--image-size", min=8, help="Side of scenes in pixels.")] = None,
    n_images: Annotated[int | None, typer.Option("--images", min=1, help="How many training scenes.")] = None,
    split_seed: Annotated[int, typer.Option("--split-seed", min=0, help="As data.split_seed.")] = 0,
    data_dir: process.DataDirOption = process.DATA_DIR,
    as_json: process.JsonOption = False,
    quiet: process.QuietOption = False,
) -> None:
    """Write a set in COCO's format: images/ as PNG, instances_train.json, instances_val.json, instances_test.json.

    The parts are those that stages see: what a stage would cut off for validation is instances_val.json.
    """
    process.share_the_machine()
    from ticketcli.data.sets import load_splits  # torch is loaded here, and only here
    from ticketcli.data.writing import write_coco

    splits = load_splits(name, image_size=image_size, images=n_images, split_seed=split_seed, sources=Sources(data_dir))

    def tell(part: str, done: int, of: int) -> None:
        if not quiet and (done == of or sys.stderr.isatty()):
            end = "\n" if done == of else ""
            print(f"\rdata: {part}, {done:,} of {of:,} images", end=end, file=sys.stderr, flush=True)

    counts = write_coco(splits, to, tell=tell)
    if as_json:
        print(json.dumps({"folder": str(to), "images": counts}))
        return
    print(f"{to}: " + ", ".join(f"{n:,} {part}" for part, n in counts.items()))
    print(f"next: ticket data check {shlex.quote(str(to))}, or data: coco:PATH in a recipe", file=sys.stderr)
