"""How well a classifier finds the objects that it knows, method by method: tables, and how to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ticketcli.report.grid import Grid

MEASURES = {"gt_error": "GT-known error", "top1_error": "top-1 error", "pointing": "pointing", "iou": "IoU of masks"}
BLIND = ("centre", "whole")  # methods that see no image
LOCATED = {
    "gt_error": "GT-known error: rows (an image and a class on it) whose box has an IoU below 0.5 with each object.",
    "top1_error": "Top-1 error: images whose class is not seen, or seen and its box wrong; an image counts once.",
    "pointing": "Pointing: rows whose map is greatest at an object of the class.",
    "iou": "IoU: of the region that the map is above its threshold in, with the mask of the class.",
}
THRESHOLDS = "each half of the images is judged at the share of a map's maximum that suits the other half best."
BLIND_WORDS = "centre and whole see no image: the set gives so much away."
LEGEND = (
    *LOCATED.values(),
    f"At: {THRESHOLDS}",
    f"In brackets: 95 % intervals over images, by bootstrap. {BLIND_WORDS}",
)
_BESIDE = "Differences are row by row, this less the other; of errors less is better, of pointing and IoU more."
_GATES = "Open: share of a layer's active units whose gate is open, mean over rows. shared: IoU with the other's gates."


def methods_of(metrics: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Method -> what was measured of it, in the order of the settings; empty where nothing was localised."""
    found: Mapping[str, Mapping[str, Any]] = metrics.get("localization") or {}
    order = list((metrics.get("localization_of") or {}).get("methods", found))
    return {method: found[method] for method in order if method in found}


def images_words(metrics: Mapping[str, Any]) -> str:
    """``200 images of scenes:digits (test, 64 pixels), 331 rows``."""
    of = metrics["localization_of"]
    part = of["data"].get("part", "test")
    return f"{of['images']:,} images of {of['data']['name']} ({part}, {of['side']} pixels), {of['rows']:,} rows"


def measured_grid(metrics: Mapping[str, Any]) -> Grid:
    """A row for each method; columns that say nothing are left out."""
    rows = tuple(
        (method, _thresholds(one), *(_told(one, name) for name in MEASURES))
        for method, one in methods_of(metrics).items()
    )
    return Grid(("method", "at", *MEASURES.values()), rows, 1).without_empty()


def beside_grid(metrics: Mapping[str, Any]) -> Grid:
    """The same of the difference from another network; without rows where there was none."""
    rows = tuple(
        (method, *(_told(one["less"], name, signed=True) for name in MEASURES))
        for method, one in methods_of(metrics).items()
        if "less" in one
    )
    return Grid(("method", *MEASURES.values()), rows, 1).without_empty()


def gates_grid(metrics: Mapping[str, Any]) -> Grid:
    """A row for each layer, of each method with gates what is open and what is shared."""
    searched = {method: one for method, one in methods_of(metrics).items() if one.get("open")}
    layers = list(dict.fromkeys(name for one in searched.values() for name in _in_order(metrics, one["open"])))
    heads, columns = [], []
    for method, one in searched.items():
        for name in ("open", "shared"):
            if one.get(name):
                heads.append(f"{method} {name}")
                columns.append([_percent(one[name].get(layer)) for layer in layers])
    rows = tuple((layer, *(column[place] for column in columns)) for place, layer in enumerate(layers))
    return Grid(("gates", *heads), rows, 1)


def searches_grid(metrics: Mapping[str, Any]) -> Grid:
    """Of methods with gates: the target before and after, how many sweeps it took, and how many came to an end."""
    rows = tuple(
        (method, f"{one['score_before']:.2f}", f"{one['score_after']:.2f}", f"{one['sweeps']:.1f}",
         _percent(one["converged"]))
        for method, one in methods_of(metrics).items() if "score_after" in one
    )  # fmt: skip
    return Grid(("gates", "logit before", "after", "sweeps", "came to an end"), rows, 1)


def legend(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """How to read the tables."""
    return (*LEGEND, *([_BESIDE] if beside_grid(metrics).rows else []), *([_GATES] if gates_grid(metrics).rows else []))


def localization_table(metrics: Mapping[str, Any], width: int) -> str:
    """For a terminal; "" where nothing was localised."""
    if not methods_of(metrics):
        return ""
    of = metrics["localization_of"]
    parts = [f"where it looks: {images_words(metrics)}; top-1 there {of['top1']:.2%}"]
    parts.append(measured_grid(metrics).as_text(width))
    if (beside := beside_grid(metrics)).rows:
        parts += [f"less {of['beside']}, whose top-1 is {of['beside_top1']:.2%}", beside.as_text(width)]
    for grid in (searches_grid(metrics), gates_grid(metrics)):
        parts += [grid.as_text(width)] if grid.rows else []
    return "\n\n".join([*parts, "\n".join(legend(metrics))])


def interval_of(one: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """From where to where a measure may lie, over images."""
    found: Sequence[float | None] | None = one.get(f"{name}_interval")
    if not found or found[0] is None or found[1] is None:
        return None
    return found[0], found[1]


def _told(one: Mapping[str, Any], name: str, *, signed: bool = False) -> str:
    if one.get(name) is None:
        return ""
    sign = "+" if signed else ""
    text = f"{100 * one[name]:{sign}.1f}{'' if signed else '%'}"
    interval = interval_of(one, name)
    if interval is None:
        return text
    low, high = (f"{100 * end:{sign}.1f}" for end in interval)
    return f"{text} ({low} to {high})"


def _thresholds(one: Mapping[str, Any]) -> str:
    return ", ".join(f"{share:g}" for share in dict.fromkeys(one.get("box_thresholds", ())))


def _in_order(metrics: Mapping[str, Any], layers: Mapping[str, Any]) -> list[str]:
    """As the network has them: manifests sort names."""
    order = (metrics.get("localization_of") or {}).get("gates", ())
    return [name for name in order if name in layers] or list(layers)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
