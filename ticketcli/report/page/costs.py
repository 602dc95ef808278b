"""What tickets weigh and how fast they are: bytes on disk, and speed where it was measured, with what measured it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from ticketcli.recipe.recipe import RecipeStep
from ticketcli.report.grid import Grid
from ticketcli.report.latency import COLUMNS, in_words, missing, timings
from ticketcli.report.page.masks import Masks
from ticketcli.report.page.section import Block, Section, Shown, Words
from ticketcli.report.page.subject import Arm, Subject
from ticketcli.report.provenance import machine_of
from ticketcli.report.survey import flat
from ticketcli.store.manifest import UnitRecord
from ticketcli.units import human_bytes


def costs(subject: Subject, masks: Masks) -> Section:
    """Sizes, then speed."""
    blocks: list[Block] = [*_tickets(subject, masks), *_networks(subject), *_speed(subject)]
    return Section("costs", "Sizes and speed", tuple(blocks))


def _tickets(subject: Subject, masks: Masks) -> list[Block]:
    rows = [row for arm in subject.arms if (row := next(_weighed(subject, masks, arm), None))]
    if not rows:
        return [Words("No ticket is there yet, so nothing can be weighed.", is_absence=True)] if subject.arms else []
    head = ("ticket", "round", "living", "prunable", "one bit a weight", "mask file", "checkpoint", "adds")
    notes = (
        "Of the first replicate, at its last round.",
        "One bit a weight: what a mask of so many weights takes, packed. Mask file: with names, counts and seal.",
        "Checkpoint: the file whose values the ticket takes. Adds: what the ticket needs beside its dense checkpoint.",
    )  # fmt: skip
    return [Shown("What a ticket weighs", Grid(head, tuple(rows)), notes)]


def _weighed(subject: Subject, masks: Masks, arm: Arm) -> Iterator[tuple[str, ...]]:
    """A row for each replicate that has a ticket, at its last round."""
    for replicate in masks.replicates(arm):
        step, at = arm.steps[replicate], max(masks.rounds(arm, replicate))
        made = subject.found.artifact(step.name, str(at)) or subject.found.artifact(step.name, "healed")
        if made is None:
            continue
        files, layers = made[0].files, masks.layers((arm.number, replicate, at)) or {}
        kept, total = (sum(layer[which] for layer in layers.values()) for which in (0, 1))
        mask, values = (files[role].size if role in files else 0 for role in ("mask", "values"))
        own = sum(file.size for file in files.values() if "/" not in file.path)
        yield (
            arm.name, str(at), f"{kept:,}" if total else "", f"{total:,}" if total else "",
            human_bytes(-(-total // 8)) if total else "", human_bytes(mask), human_bytes(values), human_bytes(own),
        )  # fmt: skip


def _networks(subject: Subject) -> list[Block]:
    rows = []
    for group, steps in _by_group(subject).items():
        if steps[0].stage in ("pretrain", "import", "train-decoder", "compact", "transfer", "evaluate"):
            unit = next((unit for step in steps for unit in subject.found.units.get(step.name, {}).values()), None)
            if unit is None:
                continue
            numbers = flat(unit.metrics)
            size = sum(file.size for output in unit.outputs for role, file in output.files.items() if role == "values")
            rows.append((group, steps[0].stage, _count(numbers.get("parameters")), _count(numbers.get("macs")),
                         human_bytes(size) if size else ""))  # fmt: skip
    if not any(row[2] or row[4] for row in rows):
        return []
    head = ("step", "stage", "parameters", "multiply-adds", "checkpoint")
    notes = ("Of the first repetition. Multiply-adds: of one image, masked weights counted as dense arithmetic does.",)
    return [Shown("What the networks weigh", Grid(head, tuple(rows), 2).without_empty(), notes)]


def _speed(subject: Subject) -> list[Block]:
    speeds: dict[tuple[str, str], list[float]] = {}
    latencies: list[tuple[str, ...]] = []
    said: list[str] = []
    for group, steps in _by_group(subject).items():
        for step in steps:
            for unit in subject.found.units.get(step.name, {}).values():
                rate = unit.environment.get("images_per_second")
                if isinstance(rate, int | float):
                    speeds.setdefault((group, _runtime(unit)), []).append(float(rate))
                latencies += [(step.name, *one.cells(), _runtime(unit)) for one in timings(unit.metrics)]
                said += [f"{step.name}: {in_words(unit.metrics)}"] if timings(unit.metrics) else []
                said += [f"{step.name}: {why}" for why in missing(unit.metrics)]
    blocks: list[Block] = []
    if latencies:
        note = (
            *said,
            "Each beside its dense network in one process, in turn A B B A; a verdict only where equal work came out "
            "as equal, to 3 %. Timings are of the machine named, and are not expected to come out again.",
        )
        columns = ("step", *COLUMNS, "made with")
        blocks.append(Shown("Latency beside the dense network", Grid(columns, tuple(latencies), 3), note))
    else:
        blocks.append(Words("No step of this run measured latency, so nothing is claimed about how fast a ticket is.",
                            is_absence=True))  # fmt: skip
    if speeds:
        lines = [
            (group, runtime, str(len(values)), f"{statistics.median(values):,.0f}",
             f"{min(values):,.0f} to {max(values):,.0f}")
            for (group, runtime), values in speeds.items()
        ]  # fmt: skip
        head = ("step", "runtime and machine", "trainings", "images a second", "range")
        note = (
            "Training, whatever else the machine was doing; the median. Masked weights cost as much as others here.",
        )
        blocks.append(Shown("How fast training was", Grid(head, tuple(lines), 2), note))
    return blocks


def _runtime(unit: UnitRecord) -> str:
    return f"torch {unit.environment.get('torch', '?')}, {machine_of(unit)}"


def _by_group(subject: Subject) -> Mapping[str, Sequence[RecipeStep]]:
    groups: dict[str, list[RecipeStep]] = {}
    for step in subject.recipe.steps:
        groups.setdefault(step.group, []).append(step)
    return groups


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
