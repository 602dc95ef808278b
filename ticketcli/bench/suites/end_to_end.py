"""The demo's share of time inside forward, backward and optimiser, where the rest goes, and its peaks of memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.sampling import WORK
from ticketcli.checks.check import ask
from ticketcli.store.run_folder import Run
from ticketcli.units import human_bytes

_SHARE = 0.90
_SECONDS = 3600.0
_TOP = 6
# The command line as a user starts it, watched from its first line on: loading torch counts as well.
_WATCHED = """
import json, sys
from ticketcli.bench.sampling import watched
try:
    with watched() as found:
        from ticketcli.cli.app import main
        main()
finally:
    print(json.dumps({"kinds": found.kinds, "others": found.others.most_common(), "total": found.total}), flush=True)
"""
_BARE = "import torch, torchvision; from ticketcli.execution.machine import peak_memory; print(peak_memory())"
_ARMS = ("ours", "plain", "imp", "random", "untrained")
_SHORTER = (
    *(f"{arm}.{setting}" for arm in _ARMS for setting in ("rounds=1", "heal=2it")),
    *(f"{step}.epochs=1ep" for step in ("dense", "decoder", "target")),
    "target.for_each.arm=[dense]",
    "report={}",
)


def run(job: BenchJob) -> Iterator[Row]:
    """One seed of the demo in a process of its own."""
    folder = str(job.folder / "run")
    job.tell(f"{job.suite}: the demo, one seed, watched")
    recipe = ["run", "demo", "for_each.seed=[0]", *([] if job.full else _SHORTER)]
    answer = ask([sys.executable, "-c", _WATCHED, *recipe, "--run", folder, "--quiet"], seconds=_SECONDS)
    lines = [line for line in answer.out.splitlines() if line.startswith('{"kinds"')]
    goal, what, peer = Goal("cost", 1 / _SHARE), "the demo, one seed: all its time", "forward, backward, optimiser"
    if not lines or answer.code:
        last = answer.err.strip().rpartition("\n")[2]
        yield job.absent(what, peer, f"unexpected end of the demo: {last}", goal)
        return
    found = json.loads(lines[-1])
    shares = {kind: found["kinds"].get(kind, 0) / found["total"] for kind in WORK}
    parts = ", ".join(f"{kind} {share:.1%}" for kind, share in shares.items())
    rest = ", ".join(f"{name} {n / found['total']:.1%}" for name, n in found["others"][:_TOP])
    status = ask([sys.executable, "-m", "ticketcli", "status", "--check", "--run", folder], seconds=_SECONDS)
    fresh = same("its steps", status.code == 0, "all fresh" if status.code == 0 else "not all are fresh")
    note = f"{parts}. The rest: {rest}"
    yield job.counted(what, 1.0, peer, sum(shares.values()), unit="share", goal=goal, note=note, equality=fresh)
    yield _peaks(job, Path(folder), fresh)


def _peaks(job: BenchJob, folder: Path, fresh: Equality) -> Row:
    """The most memory that each stage held, as its manifest says, beside a process that only loads torch."""
    peaks: dict[str, int] = {}
    run = Run(folder)
    for step in run.steps():
        manifest = run.manifest(step)
        if manifest is None:
            continue
        for unit in manifest.units.values():
            peaks[manifest.stage] = max(peaks.get(manifest.stage, 0), int(unit.environment.get("peak_memory", 0)))
    bare = ask([sys.executable, "-c", _BARE], seconds=_SECONDS).out.strip()
    note = ", ".join(f"{stage} {human_bytes(peak)}" for stage, peak in peaks.items())
    most, least = max(peaks.values(), default=1), int(bare) if bare.isdigit() else 1
    what, peer = "the demo's peak of memory", "a process that loads torch"
    return job.counted(what, most, peer, least, equality=fresh, note=note)
