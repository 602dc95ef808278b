"""What became of tied neurons, as a table for people and as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ticketcli.report.intervals import summarize
from ticketcli.report.render import table
from ticketcli.theory.gunn import Parting, Partings, TiedNeurons, Update

PARTED, TIED = 1e-6, 1e-12  # relative gaps: above the first they are two neurons, below the second one
UPDATES_IN_WORDS: dict[Update, str] = {
    "gradual": "gradual, a neuron a segment",
    "same segment": "gradual, both in one segment",
    "simultaneous": "simultaneous",
}
_LEGEND = (
    "gap: rms(y_q - y_p) / rms(y_p) on inputs that no step has seen; mean ± standard deviation over the seeds.",
    "predicted: by equation 3 of the supplement, of first order in the rate. parted: on how many seeds the last gap is",
    f"above {PARTED:g}; all others are below {TIED:g} where the layer is said to keep the tie.",
)


def gunn_text(sizes: TiedNeurons, found: Sequence[Partings]) -> str:
    """The gaps of each kind of update, and what that says."""
    p, q = sizes.tied
    seeds = f"seeds {sizes.first_seed} to {sizes.first_seed + sizes.seeds - 1}"
    head = (
        "Overlap singularities: two neurons of a linear layer that compute the same and are read alike, trained\n"
        f"{sizes.neurons} neurons, the tied ones are {p + 1} and {q + 1}, {sizes.samples} samples, {sizes.steps} steps "
        f"of {sizes.lr:g}, {seeds if sizes.seeds > 1 else f'seed {sizes.first_seed}'}"
    )
    return "\n\n".join([head, _gaps(sizes, found), "\n".join([*_verdict(found), *_LEGEND])])


def shown_steps(sizes: TiedNeurons) -> list[int]:
    """0, 1, 3, 10, 30 and so on, and the last."""
    powers = [10**k * one for k in range(6) for one in (1, 3)]
    return sorted({0, *(step for step in powers if step < sizes.steps), sizes.steps})


def _gaps(sizes: TiedNeurons, found: Sequence[Partings]) -> str:
    steps = shown_steps(sizes)
    columns = ("update", *(f"gap at {step}" for step in steps), "predicted at 1", "loss", "parted")
    rows = []
    for kind in found:
        first, last = (sum(one.losses[end] for one in kind.found) / len(kind.found) for end in (0, -1))
        predicted = sum(one.predicted for one in kind.found) / len(kind.found)
        rows.append([
            UPDATES_IN_WORDS[kind.update], *(_spread(kind.gaps(step)) for step in steps), f"{predicted:.2g}",
            f"{first:.3g} to {last:.3g}", f"{_n_parted(kind)} of {len(kind.found)}",
        ])  # fmt: skip
    return table(columns, rows, right=columns[1:])


def _spread(values: Sequence[float]) -> str:
    found = summarize(values)
    if found.sd is None or max(values) < TIED:
        return f"{found.mean:.1g}" if found.mean else "0"
    return f"{found.mean:.2g} ± {found.sd:.1g}"


def _n_parted(kind: Partings) -> int:
    return sum(gap > PARTED for gap in kind.gaps(-1))


def _verdict(found: Sequence[Partings]) -> list[str]:
    said = []
    for kind in found:
        n, gaps = _n_parted(kind), kind.gaps(-1)
        if n == len(gaps):
            what = "the neurons part on every seed"
        elif max(gaps) < TIED:
            what = "the neurons stay one, to the last digits"
        else:
            what = f"the neurons part on {n} of {len(gaps)} seeds"
        said.append(f"{UPDATES_IN_WORDS[kind.update]}: {what}.")
    return said


def gunn_json(sizes: TiedNeurons, found: Sequence[Partings]) -> dict[str, Any]:
    """All numbers, by kind of update and seed."""

    def parting(one: Parting) -> dict[str, Any]:
        return {"gaps": list(one.gaps), "predicted": one.predicted, "losses": list(one.losses),
                "parted": one.gaps[-1] > PARTED}  # fmt: skip

    updates = [{"update": kind.update, "seeds": [parting(one) for one in kind.found]} for kind in found]
    return {"theorem": "overlap singularities", "sizes": asdict(sizes), "updates": updates}
