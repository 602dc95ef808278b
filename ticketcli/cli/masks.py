"""`ticket masks`: compare tickets by what lives in them."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from string import ascii_uppercase
from typing import Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import outputs
from ticketcli.cli.target import load_mask
from ticketcli.errors import MismatchError, UsageError
from ticketcli.report.overlap import Pair, layer_overlaps, layers_table, masks_table, pairs_table
from ticketcli.store.mask import Mask
from ticketcli.store.run_folder import Run


def command(name: str) -> Any:
    """The group of commands, for the lazy group."""
    return process.command_group(_root, compare=compare)


def _root() -> None:
    """Compare masks: counts, overlap, and what chance explains."""


def compare(
    masks: Annotated[
        list[str],
        typer.Argument(help="Two or more of: a mask file, STEP, STEP/OUTPUT.", autocompletion=outputs(role="mask")),
    ],
    run: process.RunOption = Path("run"),
    layers: Annotated[bool, typer.Option("--layers", help="By layer too, where there are more than two.")] = False,
    as_json: process.JsonOption = False,
) -> None:
    """Show what two or more masks share, whole and by layer, beside what chance would let them share.

    Chance keeps the counts of every layer: two masks with k and m of n weights share k m / n on average.
    """
    if len(masks) < 2:
        raise UsageError("one mask has nothing to be compared with", hint="name two, or see 'ticket inspect'")
    loaded = [load_mask(what, Run(run)) for what in masks]
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


def _label(index: int, count: int) -> str:
    return ascii_uppercase[index] if count <= len(ascii_uppercase) else str(index + 1)


def _pair(first: str, one: Mask, second: str, other: Mask, labels: dict[str, str]) -> Pair:
    try:
        return Pair(first, second, layer_overlaps(one, other))
    except MismatchError as error:
        raise MismatchError(
            f"the masks are of different networks: {error.what}",
            where=f"{labels[first]} and {labels[second]}",
            hint="compare masks of one architecture with the same choice of prunable weights",
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
