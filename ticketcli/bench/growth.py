"""How cost grows with the work: weights to select from, rounds, tickets, processes; and the growth that fits."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from ticketcli.bench.memory import extra_memory
from ticketcli.bench.subjects import everything
from ticketcli.checks.check import ask
from ticketcli.checks.software import usable_cores
from ticketcli.errors import TicketError
from ticketcli.tensors.seeds import generator
from ticketcli.tensors.select import drop_smallest

_LAYER = 10_000_000  # weights in a layer of the selection
_REPEATS = 3
_LIMIT = 3600.0  # seconds of a command
_FREE = 0.8  # share of the memory that is free which may be used
_FRACTION = 0.2
_EXPONENTS = np.arange(0, 201) / 100
_RECIPE = """
schema: 1
defaults: {prune: {batch: 64, lambda: 0, fraction: 0.05, finetune: 2it, heal: 0it, recalibrate_bn: 0}}
steps:
  dense: {stage: pretrain, batch: 64, epochs: STEPSit, milestones: [], data: digits}
  pruned: {stage: prune, encoder: dense, rounds: ROUNDS}
  moved: {stage: transfer, for_each: {arm: [TICKETS]}, ticket: $arm, epochs: 2it, milestones: [], data: digits}
"""


@dataclass(frozen=True)
class Point:
    """What `n` cost: seconds, the median; bytes beside the data, where they were counted."""

    n: int
    seconds: float
    memory: int | None = None


@dataclass(frozen=True)
class Growth:
    """The cost of a work by its size, and ``seconds = fixed + each * n ** exponent`` fitted to it.

    Attributes:
        work: in words.
        unit: what n counts.
        points: by n.
        fixed, each, exponent: of the fit, which makes the relative errors least; None for fewer than four points.
        left_out: why sizes are missing, if any are.
    """

    work: str
    unit: str
    points: tuple[Point, ...]
    fixed: float | None = None
    each: float | None = None
    exponent: float | None = None
    left_out: str = ""

    def as_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


def fitted(work: str, unit: str, points: Sequence[Point], left_out: str = "") -> Growth:
    """The exponent, by trying all from 0 to 2 in steps of 0.01; neither part of the cost may be below 0."""
    if len(points) < 4:
        return Growth(work, unit, tuple(points), left_out=left_out)
    n, seconds = (np.array([getattr(point, name) for point in points], dtype=float) for name in ("n", "seconds"))
    best: tuple[float, float, float, float] | None = None
    for exponent in _EXPONENTS:
        columns = np.stack([1 / seconds, n**exponent / seconds], axis=1)
        (fixed, each), error = nnls(columns, np.ones_like(seconds))
        if best is None or error < best[0] - 1e-12:
            best = float(error), float(fixed), float(each), float(exponent)
    assert best is not None
    return Growth(work, unit, tuple(points), *best[1:], left_out)


def growths(scale: float = 1.0, tell: Callable[[str], None] = lambda text: None) -> Iterator[Growth]:
    """Each work in turn, at a share of its real sizes."""
    yield _selection([round(n * scale) for n in (1e7, 3e7, 1e8, 3e8, 1e9)], tell)
    most = max(4, round(30 * scale)), max(4, round(50 * scale))
    with tempfile.TemporaryDirectory(prefix="ticket-growth-") as folder:
        commands = _Commands(Path(folder), tell)
        yield commands.rounds([n for n in (1, 2, 4, 10, 20, 30) if n <= most[0]])
        yield from commands.tickets([n for n in (1, 2, 4, 10, 25, 50) if n <= most[1]])
        yield commands.ranks([1, 2], steps=max(4, round(200 * scale)))


def _selection(sizes: Sequence[int], tell: Callable[[str], None]) -> Growth:
    """Drop a fifth of n weights in layers of ten million; the data is 4 bytes a weight, its masks 1 each."""
    points, left_out = [], ""
    for n in sizes:
        if 4 * n + 3 * n > _FREE * _free_memory():
            left_out = f"{n:.0e} weights do not fit into the memory that is free here"
            break
        tell(f"growth: select from {n:.0e} weights")
        values = dict(_layers(n))
        mask = everything(values)
        select = partial(drop_smallest, values, mask, fraction=_FRACTION)
        seconds = statistics.median(_timed(select) for _ in range(_REPEATS))
        memory = extra_memory(select) - n  # the new mask is no extra
        points.append(Point(n, seconds, max(0, memory)))
    return fitted("drop a fifth of the weights", "weights", points, left_out)


def _layers(n: int) -> Iterator[tuple[str, torch.Tensor]]:
    draw = generator(0, "bench/growth")
    for number, start in enumerate(range(0, n, _LAYER)):
        yield f"layer{number}.weight", torch.randn(min(_LAYER, n - start), generator=draw)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _free_memory() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class _Commands:
    """Whole commands, each in a process of its own, in run folders of their own."""

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self.folder, self.tell = folder, tell

    def rounds(self, counts: Sequence[int]) -> Growth:
        """Prune in n rounds, from the dense network on."""
        points = []
        for n in counts:
            self.tell(f"growth: prune in {n} rounds")
            run = self._prepared(f"rounds-{n}", rounds=n, tickets=1, upto="dense")
            points.append(Point(n, self._ticket(run, "run", str(run / "recipe.yaml"), "--only", "pruned")))
        return fitted("ticket prune, 2 steps a round", "rounds", points)

    def tickets(self, counts: Sequence[int]) -> Iterator[Growth]:
        """Transfer n tickets of one pruning; then say how its run stands."""
        points: dict[str, list[Point]] = {"transfer": [], "status": []}
        for n in counts:
            self.tell(f"growth: transfer {n} tickets")
            run = self._prepared(f"tickets-{n}", rounds=max(counts), tickets=n, upto="pruned")
            points["transfer"].append(Point(n, self._ticket(run, "run", str(run / "recipe.yaml"))))
            points["status"].append(Point(n, self._ticket(run, "status")))
        yield fitted("ticket run, a transfer of 2 steps for each ticket", "tickets", points["transfer"])
        yield fitted("ticket status of that run", "tickets", points["status"])

    def ranks(self, counts: Sequence[int], *, steps: int) -> Growth:
        """The same training in n processes, which share the cores; there are no more of them for two."""
        points = []
        for n in counts:
            self.tell(f"growth: train in {n} processes")
            run = self._prepared(f"ranks-{n}", rounds=1, tickets=1, upto="", steps=steps)
            words = ["run", str(run / "recipe.yaml"), "--only", "dense", "--nproc", str(n)]
            threads = {"OMP_NUM_THREADS": str(max(1, usable_cores() // n))}
            points.append(Point(n, self._ticket(run, *words, environment=threads)))
        return fitted(f"ticket pretrain, {steps} steps, on {usable_cores()} cores", "processes", points)

    def _prepared(self, name: str, *, rounds: int, tickets: int, upto: str, steps: int = 4) -> Path:
        run = self.folder / name
        run.mkdir()
        arms = ", ".join(f"pruned/{number}" for number in range(1, tickets + 1))
        text = _RECIPE.replace("ROUNDS", str(rounds)).replace("TICKETS", arms).replace("STEPS", str(steps))
        (run / "recipe.yaml").write_text(text)
        for step in {"": (), "dense": ("dense",), "pruned": ("dense", "pruned")}[upto]:
            self._ticket(run, "run", str(run / "recipe.yaml"), "--only", step)
        return run

    def _ticket(self, run: Path, *words: str, environment: Mapping[str, str] | None = None) -> float:
        """Seconds of a command.

        Raises:
            TicketError: it failed.
        """
        quiet = ["-q"] if words[0] == "run" else []
        command = [sys.executable, "-m", "ticketcli", *words, "--run", str(run / "out"), *quiet]
        began = time.perf_counter()
        answer = ask(command, seconds=_LIMIT, environment={**os.environ, **(environment or {})})
        seconds = time.perf_counter() - began
        if answer.code:
            what = f"a command ended with {answer.code}: {answer.err.strip()[-300:]}"
            raise TicketError(what, where="ticket " + " ".join(words))
        return seconds
