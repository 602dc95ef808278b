"""What a recipe asked of its results, in words: a grid, a line for each question, and how to read them."""

from __future__ import annotations

from collections.abc import Sequence

from ticketcli.report.contrasts import Contrast
from ticketcli.report.grid import Grid
from ticketcli.report.paired import POWER

TITLE = "What the recipe asks"
_ORDER = ("gate", "primary", "secondary", "descriptive")
_GROUPS = (0, 1, 2, 3, 3, 4, 5, 5, 5, 6, 7, 7)


def contrasts_grid(contrasts: Sequence[Contrast]) -> Grid:
    """A row a contrast, gates first."""
    heads = ("contrast", "in", "n", "difference", "sd", "95 % interval", "p", "Holm", "flips", "visible", "margin",
             "p within")  # fmt: skip
    rows = tuple(_row(one) for one in in_order(contrasts))
    return Grid(heads, rows, 2, _GROUPS).without_empty()


def in_order(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Gates, then the primary question, the secondary ones, and the rest, each as the recipe has them."""
    return sorted(contrasts, key=lambda one: _ORDER.index(one.config.role))


def _row(one: Contrast) -> tuple[str, ...]:
    found, measure = one.summary, one.measure
    interval = "" if found.low is None or found.high is None else (
        f"{measure.difference(found.low)} to {measure.difference(found.high)}"
    )  # fmt: skip
    tests = one.config.role not in ("gate", "descriptive")
    return (
        one.name,
        measure.head + measure.unit * (measure.unit == " points"),
        f"{found.n} of {one.planned}" if one.is_partial else str(found.n),
        "" if found.mean is None else measure.difference(found.mean),
        measure.spread(found.sd),
        interval,
        _p(found.p) if tests else "",
        _p(one.p_holm),
        _p(one.p_sign) if tests else "",
        measure.spread(one.detectable) if tests else "",
        measure.spread(one.margin) if tests else "",
        _p(one.p_equivalent) if tests else "",
    )


def _p(value: float | None) -> str:
    return "" if value is None else "<0.001" if value < 1e-3 else f"{value:.2g}"


def verdicts(contrasts: Sequence[Contrast]) -> list[str]:
    """A line for each that has a question or a verdict: its part, what follows, and the question."""
    return [_verdict(one) for one in in_order(contrasts) if one.config.what or one.verdict]


def _verdict(one: Contrast) -> str:
    """The claim stands in quotes, for what is asked of it comes after it."""
    claim = one.config.what.rstrip(".")
    if one.config.role == "descriptive":
        return f"{one.name}: {claim}" + "." * (not claim.endswith("?"))
    why = f", {one.why}" if one.why else ""
    return f"{one.name} ({one.config.role})" + (f' "{claim}"' if claim else "") + f": {one.verdict}{why}."


def contrasts_legend(contrasts: Sequence[Contrast]) -> list[str]:
    """How to read the columns, as far as they are there."""
    over = " and ".join(dict.fromkeys(name for one in contrasts for name in one.config.over))
    lines = [f"Differences are paired by {over}; intervals and p: two-sided paired t."]
    if any(one.p_holm is not None for one in contrasts):
        lines.append("Holm: p of the secondary ones, adjusted for all of them; visible is at their share of the level.")
    if any(one.p_sign is not None for one in contrasts):
        lines.append("Flips: p of the exact sign-flip test, which assumes no normal distribution.")
    if any(one.detectable is not None for one in contrasts):
        lines.append(
            f"Visible: the smallest difference that so many pairs with this sd show with a power of {POWER:.0%}."
        )
    if any(one.margin is not None for one in contrasts):
        lines.append("Margin: what lies within it is called equivalent; p within: of two one-sided tests that it does.")
    lines.append(
        "Supported, contradicted: above, below 0 at the 5 % level; equivalent: within the margin at that level."
    )
    lines.append(
        "Inconclusive: none of these, or a gate that it needs has not passed. Descriptive ones are not tested."
    )
    lines.append(f"P is about other {over}s of the same experiment: all of them are judged on the same test images.")
    shared = [one.name for one in contrasts if one.leans_on_one]
    if shared:
        lines.append(f"A run stands in several pairs of {', '.join(shared)}: its own chance is in all of them.")
    return lines
