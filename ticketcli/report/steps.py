"""The table of steps that `status` and `run --dry-run` print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ticketcli.report.render import table


def steps_table(rows: Sequence[Mapping[str, str]]) -> str:
    """One row a step: name, stage, state, why; below it the count of each state."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    body = table(
        ["step", "stage", "state", "why"],
        [[row["step"], row["stage"], row["state"], row["why"]] for row in rows],
    )
    return f"{body}\n\n{len(rows)} steps: " + ", ".join(f"{count} {state}" for state, count in counts.items())
