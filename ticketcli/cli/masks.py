"""`ticket masks`: compare tickets by what lives in them, and join them."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import combinations
from pathlib import Path
from string import ascii_uppercase
from typing import Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import outputs
from ticketcli.cli.target import Found, load_mask
from ticketcli.errors import InputMissing, MismatchError, UsageError
from ticketcli.report.overlap import Pair, layer_overlaps, layers_table, masks_table, pairs_table
from ticketcli.store.codec import write_mask
from ticketcli.store.mask import Mask
from ticketcli.store.run_folder import Run

_ENDING = ".mask.safetensors"


def command(_name: str) -> Any:
    """The group of commands, for the lazy group."""
    return process.command_group(_root, compare=compare, intersect=intersect, union=union)


def _root() -> None:
    """Compare masks: counts, overlap, and what chance explains; or join them to a new one."""


MasksArgument = Annotated[
    list[str],
    typer.Argument(help="Two or more of: a mask file, STEP, STEP/OUTPUT.", autocompletion=outputs(role="mask")),
]
ToOption = Annotated[Path, typer.Option("--to", help="The new mask file; it ends in .mask.safetensors.")]


def compare(
    masks: MasksArgument,
    run: process.RunOption = Path("run"),
    layers: Annotated[bool, typer.Option("--layers", help="By layer too, where there are more than two.")] = False,
    as_json: process.JsonOption = False,
) -> None:
    """Show what two or more masks share, whole and by layer, beside what chance would let them share.

    Chance keeps the counts of every layer: two masks with k and m of n weights share k m / n on average.
    """
    loaded = [found.mask for found in _load(masks, run)]
    labels = {_label(index, len(masks)): what for index, what in enumerate(masks)}
    named = list(zip(labels, loaded, strict=True))
    pairs = [_pair(*one, *other, labels) for one, other in combinations(named, 2)]
    if as_json:
        print(json.dumps({"masks": [_counts(*one, labels) for one in named], "pairs": [p.as_json() for p in pairs]}))
        return
    parts = [masks_table(labels, loaded), pairs_table(pairs)]
    if layers or len(pairs) == 1:
        parts += [layers_table(pair) for pair in pairs]
    print("\n\n".join(parts))


def intersect(
    masks: MasksArgument, to: ToOption, run: process.RunOption = Path("run"), as_json: process.JsonOption = False
) -> None:
    """Write the mask of what lives in all of these."""
    _join("intersection", Mask.__and__, masks, to, run, as_json)


def union(
    masks: MasksArgument, to: ToOption, run: process.RunOption = Path("run"), as_json: process.JsonOption = False
) -> None:
    """Write the mask of what lives in any of these."""
    _join("union", Mask.__or__, masks, to, run, as_json)


def _join(how: str, join: Callable[[Mask, Mask], Mask], masks: list[str], to: Path, run: Path, as_json: bool) -> None:
    """The new file says how and of what it was made, and of the rest only what all of them agree on."""
    if not to.name.endswith(_ENDING):
        raise UsageError(
            f"'{to}' does not end in {_ENDING}", where="--to", hint=f"--to {to.name.split('.')[0]}{_ENDING}"
        )
    if to.exists() or to.is_symlink():
        raise UsageError("refusing to replace an existing file", where=str(to), hint="name another with --to")
    if not to.parent.is_dir():
        raise InputMissing("no such folder", where=str(to.parent), hint="make it, or name another with --to")
    loaded = _load(masks, run)
    for what, found in zip(masks[1:], loaded[1:], strict=True):
        _require_one_network(loaded[0].mask, found.mask, f"{masks[0]} and {what}")
    joined = reduce(join, (found.mask for found in loaded))
    if not joined.kept:
        raise UsageError(
            "nothing lives in all of these", where=", ".join(masks), hint="'ticket masks union' keeps more"
        )
    about = _agreed([found.about for found in loaded])
    about["ticket"] = {
        **_agreed([found.about.get("ticket", {}) for found in loaded]),
        "joined": {"how": how, "of": [found.content for found in loaded]},
    }
    write_mask(to, joined, {**about, "sparsity": joined.sparsity})
    if as_json:
        print(json.dumps({"file": str(to), "kept": joined.kept, "total": joined.total, "sparsity": joined.sparsity}))
        return
    print(f"{to}: {joined.kept:,} of {joined.total:,} weights live, {joined.sparsity:.2%} sparse")
    print(
        f"next: ticket rewind --ticket {shlex.quote(str(to))} --to STEP, the checkpoint of its values", file=sys.stderr
    )


def _agreed(several: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = several[0]
    return {key: value for key, value in first.items() if all(other.get(key, ...) == value for other in several)}


def _load(masks: list[str], run: Path) -> list[Found]:
    if len(masks) < 2:
        raise UsageError("this takes two masks or more", where=masks[0], hint="to see one: ticket inspect")
    return [load_mask(what, Run(run)) for what in masks]


def _label(index: int, count: int) -> str:
    return ascii_uppercase[index] if count <= len(ascii_uppercase) else str(index + 1)


def _pair(first: str, one: Mask, second: str, other: Mask, labels: dict[str, str]) -> Pair:
    _require_one_network(one, other, f"{labels[first]} and {labels[second]}")
    return Pair(first, second, layer_overlaps(one, other))


def _require_one_network(one: Mask, other: Mask, where: str) -> None:
    try:
        one.require_same_shapes(other.shapes, of="the other mask")
    except MismatchError as error:
        raise MismatchError(
            f"the masks are of different networks: {error.what}",
            where=where,
            hint="take masks of one architecture with the same choice of prunable weights",
        ) from None


def _counts(label: str, mask: Mask, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "label": label,
        "mask": labels[label],
        "kept": mask.kept,
        "total": mask.total,
        "density": mask.density,
        "layers": mask.kept_by_name,
    }
