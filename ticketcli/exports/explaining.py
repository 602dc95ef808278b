"""The work of `ticket explain` from its order to its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ticketcli.data.sources import Sources
from ticketcli.errors import UsageError
from ticketcli.events import Note
from ticketcli.execution.machine import pick_device
from ticketcli.exports.explained import (
    Network,
    Row,
    Search,
    explained,
    facts_of,
    load_networks,
    require_alike,
    targets_of,
)
from ticketcli.exports.explained_files import require_new, write_folder
from ticketcli.exports.explained_images import Asked, Item, items_of
from ticketcli.exports.subject import Subject
from ticketcli.stages.networks import has_borrowed_statistics

SCHEMA = 1


@dataclass(frozen=True)
class Order:
    """What is asked for: which networks and images, how gates are searched for, and where to write what is found."""

    subjects: Sequence[Subject]
    asked: Asked
    search: Search
    to: Path
    sources: Sources
    device: str
    keeps_gates: bool = False


def explain_all(order: Order) -> dict[str, Any]:
    """Look with every network at every image, and write the folder; returns what its `explained.json` says.

    Raises:
        UsageError: the folder is there; the target is unknown; or there are no images.
        InputMissing, CorruptError, MismatchError: of a checkpoint or of images.
    """
    require_new(order.to)
    networks = load_networks(order.subjects, pick_device(order.device))
    for network in networks:
        if has_borrowed_statistics(network.source):
            hint = "a healed one has its own, and so has one of 'ticket rewind --recalibrate-bn 1024'"
            order.sources.tell(Note(f"{network.ref}: BatchNorm's statistics are from before the mask; {hint}"))
    require_alike(networks, order.asked.side)
    asked = order.asked
    if order.search.target == "gt":
        known = frozenset.intersection(*(frozenset(network.class_names) for network in networks))
        asked = replace(asked, known=known)
    items = items_of(asked, networks[0].source.about, order.sources)
    rows = targets_of(networks, items, order.search.target)
    if not rows:
        hint = "--target top1, or a set whose images have classes"
        raise UsageError("nobody says what is on these images", where="--target", hint=hint)
    found: dict[str, list[Row]] = {}
    for ref, network in zip(_refs(networks), networks, strict=True):
        found[ref] = []
        work = explained(network, items, rows, order.search, keeps_gates=order.keeps_gates)
        while True:
            try:
                order.sources.tell(next(work))
            except StopIteration as end:
                found[ref] = end.value
                break
    return write_folder(order.to, _account(order, networks, items, found), items, found, order.search)


def _refs(networks: Sequence[Network]) -> list[str]:
    """As the user named them; a name that comes again has its place behind it."""
    refs = [network.ref for network in networks]
    return [ref if refs.count(ref) == 1 else f"{ref} ({place})" for place, ref in enumerate(refs, 1)]


def _account(
    order: Order, networks: Sequence[Network], items: Sequence[Item], rows: dict[str, list[Row]]
) -> dict[str, Any]:
    checkpoints = [
        {"ref": ref, "kind": network.source.kind, "arch": network.source.about["arch"], "digests": subject.digests,
         "sparsity": 0.0 if network.source.mask is None else network.source.mask.sparsity}
        for ref, network, subject in zip(rows, networks, order.subjects, strict=True)
    ]  # fmt: skip
    images = [
        {"name": item.name, "height": item.pixels.shape[0], "width": item.pixels.shape[1], "truth": list(item.truth),
         "boxes": {name: boxes.tolist() for name, boxes in item.boxes.items()}}
        for item in items
    ]  # fmt: skip
    given = {name: value for name, value in asdict(order.search).items() if value is not None}
    settings = {name: value for name, value in given.items() if name != "batch"}
    found = {"schema": SCHEMA, "settings": settings, "checkpoints": checkpoints, "images": images}
    return {**found, "rows": facts_of(rows)}
