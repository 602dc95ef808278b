"""Which channels a round has left, what that saves, and how SCOP's selection went; for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ticketcli.report.render import table


def channels_table(metrics: Mapping[str, Any]) -> str:
    """A row a convolution; "" of a unit that dropped no channels."""
    found = metrics.get("channels")
    if not isinstance(found, Mapping) or "layers" not in found:
        return ""
    rows = [[name, str(one["kept"]), str(one["of"])] for name, one in found["layers"].items()]
    text = table(["layer", "channels left", "of"], rows, right=["channels left", "of"])
    words = [f"{found['kept']:,} of {found['of']:,} channels are left{_saved(metrics.get('cost'))}"]
    return "\n\n".join([*words, text, *filter(None, [_selected(metrics.get("selection"))])])


def _saved(cost: Mapping[str, Any] | None) -> str:
    if not cost:
        return ""
    return (
        f"; compacted {cost['parameters_left']:,} of {cost['parameters']:,} weights, "
        f"{cost['macs_left'] / 1e6:,.1f} of {cost['macs'] / 1e6:,.1f} M multiply-adds an image"
    )


def _selected(selection: Mapping[str, Any] | None) -> str:
    """Whether gates chose, and what their controls lack."""
    if not selection:
        return ""
    first, last = selection["loss_first"], selection["loss_last"]
    losses = "" if first is None else f", loss {first:.3g} to {last:.3g}"
    words = [
        f"selected in {selection['steps']:,} steps{losses}; {selection['at_one']:.1%} of the gates at 1, "
        f"{selection['at_zero']:.1%} at 0"
    ]
    knockoff = selection.get("knockoff", {})
    gaps = ", ".join(
        f"{name.replace('_', ' ')} {value:.3g}" for name, value in knockoff.items() if isinstance(value, int | float)
    )
    return "\n".join([*words, *([f"controls ({knockoff['kind']}): {gaps}"] if gaps else [])])
