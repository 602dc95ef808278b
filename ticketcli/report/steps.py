"""The table of steps that `status` and `run --dry-run` print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from ticketcli.report.render import table
from ticketcli.units import human_bytes, human_seconds


def steps_table(rows: Sequence[Mapping[str, str]]) -> str:
    """One row a step: name, stage, state, why unless it is fresh, its jobs if any; below it the count of each state."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    columns = ["step", "stage", "state", "why", *(["job"] if any(row.get("job") for row in rows) else [])]
    shown = [row | {"why": ""} if row["state"] == "fresh" else row for row in map(dict, rows)]
    body = table(columns, [[row[column] for column in columns] for row in shown])
    return f"{body}\n\n{len(rows)} steps: " + ", ".join(f"{count} {state}" for state, count in counts.items())


def estimate_table(rows: Sequence[Mapping[str, Any]], totals: Mapping[str, Any]) -> str:
    """One row a step of the recipe, its repetitions together; below it time, disk and memory of the whole."""
    lines = []
    for group, members in groupby(rows, key=lambda row: row["group"]):
        found = list(members)
        timed = [row["step_seconds"] for row in found if row["step_seconds"] is not None]
        lines.append(
            [
                group,
                str(len(found)),
                f"{sum(row['n_steps'] for row in found):,}" if timed else "",
                f"{1000 * max(timed):.1f} ms" if timed else "",
                human_seconds(sum(row["seconds"] for row in found)),
                human_bytes(sum(row["disk"] for row in found)),
            ]
        )
    head = ["step", "times", "training steps", "a step", "time", "disk"]
    body = table(head, lines, right=head[1:])
    fresh = sum(row["state"] == "fresh" for row in rows)
    words = [
        f"Time:   {human_seconds(totals['seconds'])} on this machine, one step after the other"
        + (f"; {fresh} fresh steps cost nothing" if fresh else ""),
        f"Disk:   {human_bytes(totals['disk'])} with saved states; {human_bytes(totals['free'])} are free",
        f"Memory: {human_bytes(totals['memory'])} at the peak of this measurement",
    ]
    if totals["gpu_memory"] is not None:
        words.append(f"GPU:    {human_bytes(totals['gpu_memory'])} at the peak of this measurement")
    return "\n\n".join([body, "\n".join(words)])
