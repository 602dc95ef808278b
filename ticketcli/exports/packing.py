"""`ticket export --to NAME.ticket.safetensors`: a ticket as bits, surviving values and all the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ticketcli.exports.subject import Subject, network_to_export
from ticketcli.models.cost import parameters
from ticketcli.store.mask import Mask
from ticketcli.store.packed import Values
from ticketcli.tensors.digest import digest_of
from ticketcli.tensors.packed import unpacked, write_packed
from ticketcli.training.yields import Loaded


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        kind: of export.
        file: where it lies.
        facts: what is said of it, by name, as JSON values.
        notes: sentences for people.
    """

    kind: str
    file: Path
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()


def facts_of(source: Loaded, mask: Mask | None) -> dict[str, Any]:
    """What every export says of its network: counts, and sparsity over prunable weights and over the whole network."""
    n = parameters(network_to_export(source))
    found: dict[str, Any] = {"parameters": n, "arch": source.about["arch"]}
    if mask is None:
        return found
    return {
        **found,
        "prunable": mask.total,
        "kept": mask.kept,
        "sparsity": mask.sparsity,
        "network_sparsity": mask.dropped / n,
    }


def export_packed(subject: Subject, to: Path, values: Values) -> Written:
    """Write a packed ticket; what is read back of it is compared with what was meant before the file is there.

    Raises:
        MismatchError: nothing is masked.
    """
    source = subject.load_ticket()
    mask = source.mask
    assert mask is not None
    exact = unpacked(source.values, mask, values)
    about = {
        "of": subject.artifact.kind if subject.artifact.kind == "task" else "ticket",
        "checkpoint": dict(source.about),
        "ref": subject.ref,
        "digests": subject.digests,
        "unpacked": digest_of(exact),
        "sparsity": mask.sparsity,
    }
    facts = facts_of(source, mask)
    write_packed(to, source.values, mask, values=values, about=about)
    size, dense = to.stat().st_size, subject.sizes["values"]
    facts |= {"stored": values, "bytes": size, "dense_bytes": dense, "share": size / dense}
    exactly = "to the exact values" if values == "fp32" else "to the exact bfloat16 values of the living weights"
    notes = (
        f"{size / dense:.3f} of the dense checkpoint, whole files; 'ticket import {to.name}' brings it back {exactly}.",
        "Masked weights come back as +0.0; what a checkpoint holds beneath its mask is not stored.",
    )
    return Written("packed", to, facts, notes)
