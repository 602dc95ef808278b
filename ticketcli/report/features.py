"""How far a network's features are from the dense network's, tap by tap, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ticketcli.report.render import table

_LEGEND = (
    "r_map, r_pool: |dense - this| / |dense| of the feature maps and of their means over space, over all images.",
    "probe: top-1 of a linear probe on those means, on images that it has not learnt from; dense: the same of dense.",
)


def features_table(metrics: Mapping[str, Any]) -> str:
    """A row for each tap, and what the columns mean; "" where none were compared."""
    taps: Mapping[str, Mapping[str, Any]] = metrics.get("features") or {}
    if not taps:
        return ""
    probed = any("probe" in one for one in taps.values())
    columns = ["tap", "r_map", "r_pool", "r_map / r_pool", *(["probe", "dense"] if probed else [])]
    rows = [
        [tap, *(_number(one.get(name)) for name in ("r_map", "r_pool", "ratio")),
         *([_share(one, "probe"), _share(one, "dense_probe")] if probed else [])]
        for tap, one in taps.items()
    ]  # fmt: skip
    of = metrics.get("features_of", {})
    learnt = f"; probes learnt from {of.get('probe_images', 0):,} training images" if probed else ""
    legend = _LEGEND if probed else _LEGEND[:1]
    head = f"features, beside {of.get('dense', 'dense')}{learnt}"
    return "\n\n".join([head, table(columns, rows, right=columns[1:]), "\n".join(legend)])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _share(one: Mapping[str, Any], name: str) -> str:
    return f"{one[name]['top1']:.2%}" if name in one else ""
