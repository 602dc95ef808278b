"""What a network takes in each runtime, beside its dense network, and what it weighs; in tables and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ticketcli.pairing import TOLERANCE
from ticketcli.report.render import table
from ticketcli.units import human_bytes

COLUMNS = ("device", "runtime", "batch", "this", "dense", "speed-up", "95 % interval", "in words")
_DEVICES = ("cpu", "cuda")
_RUNTIMES = {
    "eager": "torch", "folded": "torch, folded", "compiled": "torch, compiled", "onnxruntime": "ONNX Runtime",
}  # fmt: skip
_SIZES = {
    "checkpoint": "on disk, its checkpoint",
    "mask": "on disk, its mask",
    "packed": "on disk, packed ticket",
    "packed_bf16": "on disk, packed ticket, bf16",
    "memory": "in memory, weights and buffers",
    "dense_memory": "in memory, of the dense network",
}


@dataclass(frozen=True)
class Timing:
    """One comparison: where, how long, and how much faster than the dense network with what certainty."""

    device: str
    runtime: str
    batch: str
    ours: float
    dense: float
    median: float
    low: float
    high: float
    noisy: bool

    @property
    def verdict(self) -> str:
        """Faster or slower only where the whole interval says so, and by more than equal work differs here."""
        if self.noisy:
            return "noisy: no verdict"
        if self.low > 1 + TOLERANCE:
            return "faster"
        if self.high < 1 - TOLERANCE:
            return "slower"
        return "no faster" if self.high <= 1 + TOLERANCE else "cannot tell"

    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        interval = f"{self.low:.2f} to {self.high:.2f}"
        times = (f"{one:.3g} ms" if one < 100 else f"{one:,.0f} ms" for one in (self.ours, self.dense))
        return (self.device, self.runtime, self.batch, *times, f"{self.median:.2f}x", interval, self.verdict)


def timings(metrics: Mapping[str, Any]) -> list[Timing]:
    """The comparisons among a step's metrics."""
    return list(_timings(metrics.get("latency") or {}))


def _timings(latency: Mapping[str, Any]) -> Iterator[Timing]:
    """Manifests sort names, so the order is made here: devices, runtimes, batches by size."""
    for device in _DEVICES:
        for runtime, words in _RUNTIMES.items():
            batches = latency.get(device, {}).get(runtime, {})
            for batch in sorted(batches, key=int):
                row = batches[batch]
                faster, control = row["faster"], row["control"]
                noisy = control["low"] < 1 - TOLERANCE or control["high"] > 1 + TOLERANCE
                yield Timing(
                    device, words, batch, row["milliseconds"], row["dense_milliseconds"],
                    faster["median"], faster["low"], faster["high"], noisy,
                )  # fmt: skip


def in_words(metrics: Mapping[str, Any]) -> str:
    """What the comparisons say, in a sentence or two; nothing is calculated from multiply-adds."""
    found = timings(metrics)
    told = [one for one in found if not one.noisy and one.verdict != "cannot tell"]
    faster = [one for one in told if one.verdict == "faster"]
    threads, sparsity = (metrics.get("latency") or {}).get("threads"), metrics.get("sparsity")
    where = f"{threads} thread{'s' * (threads != 1)}"
    n_unsure = len(found) - len(told)
    unsure = (
        f" {n_unsure} of {len(found)} comparisons cannot tell: too noisy, or the interval has room for both."
        if n_unsure
        else ""
    )
    if not told:
        return f"Nothing can be said of its speed here ({where}).{unsure}"
    if faster:
        names = ", ".join(f"{one.runtime} on {one.device} at batch {one.batch} ({one.median:.2f}x)" for one in faster)
        others = len(told) - len(faster)
        rest = f" It is no faster in {others} other comparison{'s' * (others != 1)}." if others else ""
        return f"Faster than its dense network ({where}): {names}.{rest}{unsure}"
    if not sparsity:
        return f"It is no faster than the dense network in any runtime measured here ({where}).{unsure}"
    return (
        f"{sparsity:.2%} of its prunable weights are masked, and that speeds up no runtime measured here ({where}): "
        f"zeros are multiplied like other numbers. What is saved is storage.{unsure}"
    )


def missing(metrics: Mapping[str, Any]) -> list[str]:
    """What could not be measured, and why."""
    reasons = (metrics.get("latency") or {}).get("missing") or {}
    return [f"Not measured: {what}: {why}" for what, why in reasons.items()]


def sizes(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What it weighs, in words."""
    found = metrics.get("sizes") or {}
    return [(words, human_bytes(found[name])) for name, words in _SIZES.items() if name in found]


def latency_table(metrics: Mapping[str, Any]) -> str:
    """All of it for a terminal; "" where nothing was measured."""
    found = timings(metrics)
    if not found and not missing(metrics):
        return ""
    side = metrics["latency"].get("side")
    of = metrics.get("latency_of") or {}
    head = f"latency of {of.get('what', 'the network')}, images of {side} pixels, beside {of.get('dense', 'dense')}"
    right = COLUMNS[2:6]
    parts = [head]
    parts += [table(COLUMNS, [one.cells() for one in found], right=right)] if found else []
    said = [in_words(metrics), *missing(metrics)]
    parts += ["\n".join(said)]
    if weights := sizes(metrics):
        parts.append(table(("size", "bytes"), weights, right=("bytes",)))
    if layers := layer_rows(metrics):
        parts.append(table(LAYERS, layers, right=LAYERS[1:]))
    return "\n\n".join(parts)


LAYERS = ("layer", "multiply-adds", "of living weights", "living")


def layer_rows(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Multiply-adds of each layer for one image: all, which every runtime here does, and those of living weights."""
    layers: Sequence[Mapping[str, Any]] = metrics.get("layers") or ()
    rows: list[tuple[str, ...]] = []
    for one in layers:
        share = one["kept"] / one["of"] if one["of"] else 1.0
        rows.append((str(one["name"]), f"{one['macs']:,}", f"{round(one['macs'] * share):,}", f"{share:.1%}"))
    if rows:
        total = sum(one["macs"] for one in layers)
        alive = sum(round(one["macs"] * (one["kept"] / one["of"] if one["of"] else 1.0)) for one in layers)
        rows.append(("all", f"{total:,}", f"{alive:,}", f"{alive / total:.1%}" if total else ""))
    return rows


def latency_markdown(metrics: Mapping[str, Any]) -> str:
    """The comparisons as a table in Markdown, and what they say; "" where nothing was measured."""
    found = timings(metrics)
    if not found:
        return ""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(one.cells()) + " |" for one in found]
    return "\n".join([*lines, "", in_words(metrics), *missing(metrics)])
