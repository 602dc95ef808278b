"""What a criterion by layer has cost: the error of each layer, and of the output beside its bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ticketcli.report.grid import Grid
from ticketcli.report.render import table

Layer = Mapping[str, Any]
LEGEND = (
    "error: mean squared change of what the layer gives, with the weights that were found; masked: with the old ones.",
    "relative: the error over the mean square of what the layer gave. damping: a share of the inputs' mean square.",
    "columns: images times positions that were looked at. inputs: of one output; dead: those that never vary.",
    "bound: how far the layer's output can be off, an image, with all that changes before it.",
)
_COLUMNS = ("layer", "method", "sparse", "error", "relative", "masked", "damping", "columns", "inputs", "dead", "bound")


def layers_of(metrics: Mapping[str, Any]) -> Mapping[str, Layer]:
    """Layer -> its account, in the network's order; empty where the criterion was of another kind."""
    found = metrics.get("layers")
    return dict(sorted(found.items(), key=lambda item: item[1]["place"])) if isinstance(found, Mapping) else {}


def layers_grid(metrics: Mapping[str, Any]) -> Grid:
    """A row for each layer; columns that say nothing are left out."""
    rows = tuple(
        (
            name, str(one["method"]), f"{1 - one['kept'] / one['total']:.2%}", _short(one["error"]),
            _share(one["relative"]), _short(one["masked"]), _short(one["damping"] or None), f"{one['n']:,}",
            f"{one['d']:,}", f"{one['dead_inputs']:,}" if one["dead_inputs"] else "", _short(one.get("bound")),
        )
        for name, one in layers_of(metrics).items()
    )  # fmt: skip
    return Grid(_COLUMNS, rows, 2).without_empty()


def output_words(metrics: Mapping[str, Any]) -> str:
    """What came of it at the end of the network, in a line; "" where it was not measured."""
    found = metrics.get("output")
    if not isinstance(found, Mapping):
        return ""
    size = found["output"]
    words = f"output on {found['images']:,} images: {size:.3g}, off by {_part(found['measured'], size)}"
    if "masked" in found:
        words += f" with the weights adjusted, by {_part(found['masked'], size)} masked alone"
    if "bound" in found:
        return f"{words}; at most by {found['bound']:.3g} (Frobenius norms: {found['bound_frobenius']:.3g})"
    return f"{words}; no bound is known: {found.get('unbounded', 'it was not asked for')}"


def layers_table(metrics: Mapping[str, Any]) -> str:
    """For a terminal; "" where there is nothing to say."""
    if not layers_of(metrics):
        return ""
    grid = layers_grid(metrics)
    text = table(grid.columns, grid.rows, right=grid.columns[2:])
    said = [output_words(metrics), "\n".join(LEGEND)]
    return "\n\n".join(["layer by layer", text, *filter(None, said)])


def share_below(one: Layer, power: int) -> float:
    """The share of a layer's living weights whose sensitivity is below ten to `power`; within a bin by proportion."""
    found = one["sensitivities"]
    edges: Sequence[float] = found["edges"]
    below = float(found["zeros"])
    for count, low, high in zip(found["counts"], edges, edges[1:], strict=False):
        below += count * min(max((power - low) / (high - low), 0.0), 1.0) if high > low else count * (low < power)
    return below / max(1, int(found["zeros"]) + sum(map(int, found["counts"])))


def powers(layers: Mapping[str, Layer]) -> range:
    """The powers of ten between which some layer's sensitivities lie."""
    ends = [edge for one in layers.values() for edge in one["sensitivities"]["edges"]]
    return range(math.floor(min(ends)), math.ceil(max(ends)) + 1) if ends else range(0)


def _part(value: float, size: float) -> str:
    return f"{value:.3g} ({value / size:.1%})" if size else f"{value:.3g}"


def _share(value: float) -> str:
    return f"{value:.2%}" if value >= 1e-4 or value == 0 else f"{100 * value:.1e}%"


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
