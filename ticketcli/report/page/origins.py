"""Where all of it comes from: command, recipe, versions, machines; every step with its state, times and digests."""

from __future__ import annotations

from ticketcli.report.grid import Grid
from ticketcli.report.page.section import Block, Section, Shown, Words
from ticketcli.report.page.subject import Subject
from ticketcli.report.provenance import machine_of
from ticketcli.units import human_seconds

_DIGITS = 12


def progress(subject: Subject) -> list[Block]:
    """How far the run has come, in a line, and what a reader has to know first."""
    steps, lacking = subject.recipe.steps, subject.found.lacking
    n_done = sum(step.name not in lacking for step in steps)
    blocks: list[Block] = []
    if n_done < len(steps):
        some = [f"{name} ({why})" for name, why in list(lacking.items())[:6]]
        more = f" and {len(lacking) - 6} more" if len(lacking) > 6 else ""
        text = f"Unfinished: {n_done} of {len(steps)} steps are done. Not there yet: {', '.join(some)}{more}."
        blocks.append(Words(text, is_absence=True))
    else:
        blocks.append(Words(f"All {n_done} steps are done."))
    blocks += [Words(note, is_absence=True) for note in subject.found.notes]
    return blocks


def origins(subject: Subject) -> Section:
    """Provenance as two tables."""
    facts = subject.report.provenance.facts()
    made = Grid(("what", ""), tuple((name, words) for name, words in facts), 2)
    rows = []
    for step in subject.recipe.steps:
        units = subject.found.units.get(step.name, {})
        finished = max((unit.finished[:16].replace("T", " ") for unit in units.values()), default="")
        outputs = [file.content[:_DIGITS] for unit in units.values() for output in unit.outputs
                   for file in output.files.values() if "/" not in file.path]  # fmt: skip
        machines = "; ".join(dict.fromkeys(machine_of(unit) for unit in units.values()))
        state = subject.found.lacking.get(step.name, "done")
        digests = " ".join(outputs[-1:]) + (f" and {len(outputs) - 1} more" if len(outputs) > 1 else "")
        seconds = human_seconds(sum(unit.seconds for unit in units.values())) if units else ""
        rows.append((step.name, step.stage, state, finished, machines, digests, str(len(units)), seconds))
    head = ("step", "stage", "state", "finished (UTC)", "machine", "content digest", "units", "computing")
    notes = ("Content digest: sha256 of names, types, shapes and values, of the last output; summary.json has all.",)
    return Section("origins", "How it was made", (
        Shown("Provenance", made),
        Shown(f"All {len(rows)} steps", Grid(head, tuple(rows), 6), notes, is_folded=True),
    ))  # fmt: skip
