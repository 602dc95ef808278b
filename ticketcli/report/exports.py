"""What `ticket export` has written, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ticketcli.report.render import table
from ticketcli.units import human_bytes

_LEDGER = ("wire", "disk", "memory")


def export_text(kind: str, file: str, card: str, facts: Mapping[str, Any], notes: Sequence[str]) -> str:
    """The file and its size, what it holds, a bundle's ledger, what was checked, and where the card lies."""
    lines = [f"{file}: {kind}, {human_bytes(facts['bytes'])}; dense {human_bytes(facts['dense_bytes'])}"]
    if "kept" in facts:
        lines.append(
            f"{facts['arch']}, {facts['kept']:,} of {facts['prunable']:,} prunable weights live, "
            f"{facts['sparsity']:.2%} sparse ({facts['network_sparsity']:.2%} of the whole network)"
        )
    else:
        lines.append(f"{facts['arch']}, {facts['parameters']:,} weights, dense")
    if "outputs" in facts:
        size = facts["image_size"]
        sides = "height, width], any size" if size == "any" else f"{size}, {size}], any batch"
        lines.append(f"opset {facts['opset']}, images [batch, 3, {sides} -> {', '.join(facts['outputs'])}")
    parts = ["\n".join(lines)]
    if "ledger" in facts:
        rows = [[who, *(human_bytes(one[what]) for what in _LEDGER)] for who, one in facts["ledger"].items()]
        parts.append(table([f"of {facts['networks']} networks", *_LEDGER], rows, right=_LEDGER))
    return "\n\n".join([*parts, "\n".join([*notes, f"card: {card}"])])
