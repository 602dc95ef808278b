"""The figures of both experiments as SVG: what was measured, the limit, the theorem's bounds, and the controls."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ticketcli.errors import InputMissing, UsageError
from ticketcli.store.atomic import write_bytes
from ticketcli.theory import limits
from ticketcli.theory.lcnn import Damage, Lcnn
from ticketcli.theory.orcnn import Orcnn, Pretrained, predicted

_FLAG = "--svg"
# Okabe and Ito's colours, which stay apart for the colour-blind
_BLUE, _ORANGE, _GREEN, _PINK, _GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#666666"
_STYLE = {"kernel-sum": (_BLUE, "o", "smallest sums (the theorem's)"), "random": (_ORANGE, "s", "any kernels"),
          "l2": (_GREEN, "^", "smallest norms"), "1x1": (_PINK, "D", "smallest sums, 1x1 kernels")}  # fmt: skip
_LOOK = {"svg.hashsalt": "ticket", "font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False,
         "axes.grid": True, "grid.alpha": 0.3, "legend.frameon": False, "legend.fontsize": 8.0}  # fmt: skip


def require_drawing(path: Path) -> None:
    """Refuse before computing what could not be drawn after.

    Raises:
        UsageError: matplotlib is not installed, or the file's name does not end in .svg.
        InputMissing: its folder is not there.
    """
    if path.suffix != ".svg":
        raise UsageError(f"'{path}' does not end in .svg", where=_FLAG, hint=f"{_FLAG} {path.stem or 'figure'}.svg")
    if not path.absolute().parent.is_dir():
        raise InputMissing("no such folder", where=str(path.parent), hint=f"make it, or name another with {_FLAG}")
    if find_spec("matplotlib") is None:
        hint = "pip install 'ticketcli[report]', or leave the flag out"
        raise UsageError("matplotlib is not installed", where=_FLAG, hint=hint)


def _panels(*, one_height: bool) -> tuple[Any, Any, Any]:
    """A figure and its two axes, side by side; of one height, both have the left one's vertical axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=one_height)
    return figure, left, right


def _legend(axes: Any, columns: int) -> None:
    """Below the axes, where nothing is drawn."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns)


def _written(path: Path, figure: Any) -> None:
    """The same bytes for the same numbers: no date, no random names."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    write_bytes(path, content.getvalue())


def _points(axes: Any, x: Sequence[float], values: Sequence[Sequence[float]], label: str, style: Any) -> None:
    """Means, each with a bar from the least to the greatest value."""
    colour, marker, _ = style
    means = [sum(each) / len(each) for each in values]
    # not below 0, as the mean of equal values may be by rounding
    below = [max(0.0, mean - min(each)) for mean, each in zip(means, values, strict=True)]
    above = [max(0.0, max(each) - mean) for mean, each in zip(means, values, strict=True)]
    axes.errorbar(x, means, yerr=[below, above], fmt=marker, color=colour, label=label, markersize=4.5, capsize=2.5)


def draw_lcnn(path: Path, sizes: Lcnn, damages: Sequence[Damage]) -> None:
    """Errors of the pooled feature and of the map over p, both axes logarithmic."""
    import matplotlib as mpl

    with mpl.rc_context(_LOOK):
        figure, *panels = _panels(one_height=True)
        line = np.geomspace(min(sizes.p) / 1.3, min(0.99, max(sizes.p) * 1.3), 80)
        kinds = (("r_pool", 0, "pooled feature"), ("r_map", 1, "feature map"))
        for axes, (name, which, title) in zip(panels, kinds, strict=True):
            for rule in dict.fromkeys(one.rule for one in damages):
                own = [one for one in damages if one.rule == rule]
                _points(axes, [one.p for one in own], [one.values(name) for one in own], _STYLE[rule][2], _STYLE[rule])
                axes.plot(line, [_limit(sizes, rule, p)[which] for p in line], color=_STYLE[rule][0], linewidth=1)
            if any(one.rule == "kernel-sum" for one in damages):
                within = line[line <= limits.LARGEST_P]
                bounds = [_bounds(sizes, p)[which] for p in within]
                axes.plot(within, bounds, color="black", linestyle="--", linewidth=1.2, label="bound of theorem 3.1")
            axes.set(xscale="log", yscale="log", xlabel="share p of the kernels pruned", title=title)
            _plain_ticks(axes, sizes.p)
            _legend(axes, 2)
        panels[0].set_ylabel("relative error")
        figure.suptitle(
            f"Theorem 3.1: {sizes.layers} linear layers of width {sizes.width}, {2 * sizes.s + 1} taps, "
            f"{sizes.seeds} seeds. Thin lines: infinite width"
        )
        _written(path, figure)


def _plain_ticks(axes: Any, p: Sequence[float]) -> None:
    """The measured p as they are written, where a logarithmic axis would have powers of ten alone."""
    axes.set_xticks(list(p), labels=[f"{one:g}" for one in p])
    axes.set_xticks([], minor=True)


def _white(sizes: Lcnn) -> list[float]:
    """A white input's energy by mode: 0 and D / 2 stand for themselves, the others for their conjugates too."""
    n = sizes.length // 2 + 1
    alone = {0, sizes.length // 2} if sizes.length % 2 == 0 else {0}
    return [(1 if k in alone else 2) / sizes.length for k in range(n)]


def _limit(sizes: Lcnn, rule: limits.Rule, p: float) -> tuple[float, float]:
    s = 0 if rule == "1x1" else sizes.s
    return limits.predicted(rule, p, layers=sizes.layers, s=s, length=sizes.length, shares=_white(sizes))


def _bounds(sizes: Lcnn, p: float) -> tuple[float, float]:
    return limits.pool_bound(p, sizes.layers), limits.map_bound(p, sizes.s, sizes.length, _white(sizes))


def draw_orcnn(path: Path, sizes: Orcnn, found: Sequence[Pretrained]) -> None:
    """Distances over p, and the residuals of the first seed's trainings beside what lemma B.5 allows."""
    import matplotlib as mpl

    with mpl.rc_context(_LOOK):
        figure, left, right = _panels(one_height=False)
        line = np.linspace(0, max(sizes.p) + 0.5 * (1 - max(sizes.p)), 120)
        left.plot(line, [predicted(p) for p in line], color=_BLUE, linewidth=1, label="infinite width")
        left.plot(line, line / 2, color="black", linestyle="--", linewidth=1.2, label="bound p / 2 of theorem 3.2")
        series = {
            "least over all rotations": ((_BLUE, "o", ""), [[one.finetuned[p].trained.rotated for one in found]
                                                            for p in sizes.p]),
            "the same, nothing trained": ((_ORANGE, "x", ""), [[one.finetuned[p].untrained.rotated for one in found]
                                                               for p in sizes.p]),
            "mixed, equal norms": ((_GREEN, "^", ""), [[one.finetuned[p].trained.rescaled for one in found]
                                                       for p in sizes.p]),
            "not rotated": ((_GREY, "s", ""), [[one.finetuned[p].trained.plain for one in found] for p in sizes.p]),
        }  # fmt: skip
        for label, (style, values) in series.items():
            _points(left, sizes.p, values, label, style)
        left.set(xlabel="share p of the filters pruned", ylabel="distance of W_fin from W_pre", title="distance")
        left.set_ylim(bottom=0)
        _legend(left, 2)
        _residuals(right, sizes, found[0])
        figure.suptitle(f"Theorem 3.2: width {sizes.width}, {sizes.samples} samples, {sizes.seeds} seeds")
        _written(path, figure)


def _residuals(axes: Any, sizes: Orcnn, one: Pretrained) -> None:
    descents = {"dense": one.descent, **{f"p = {p:g}": one.finetuned[p].descent for p in sizes.p}}
    longest = max(descents.values(), key=lambda descent: descent.steps)
    shades = np.linspace(0.15, 0.85, len(descents))
    for (name, descent), shade in zip(descents.items(), shades, strict=True):
        axes.plot(descent.residuals, color=(shade, 0.35, 1 - shade), linewidth=1.2, label=name)
    axes.plot(longest.allowed, color="black", linestyle="--", linewidth=1.2, label="bound of lemma B.5")
    axes.set(
        yscale="log", xlabel="step", ylabel="squared residual, first = 1", title=f"training, seed {sizes.first_seed}"
    )
    _legend(axes, 3)
