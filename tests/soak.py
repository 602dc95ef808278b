"""Kill a run of a recipe again and again until it is done, and compare it with one that nobody disturbed. By hand:

    python tests/soak.py --kills 30 recipes/demo.yaml

Each start is ended at a random time by SIGKILL, SIGTERM, SIGINT or SIGUSR2, and the same command is given again. After
each the run is verified; at the end its digests and logs are those of the straight run. Prints a Markdown table for
`recipes/results/`; what happens is told on stderr. Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from ticketcli import __version__
from ticketcli.cli.verify import problems_of
from ticketcli.store.run_folder import Run
from ticketcli.units import human_seconds

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
CLEAN, STARTING = 75, {-signal.SIGTERM, -signal.SIGUSR2, 1, 130}  # before the handlers are there, Python's own act


@dataclass(frozen=True)
class Kill:
    """One disturbance: which signal, after how many seconds, the code that the process ended with, and how soon."""

    signal: signal.Signals
    after: float
    code: int
    seconds: float


def start(recipe: str, run: Path, more: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ticketcli", "run", recipe, *more, "--run", str(run), "--save-every", "1"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def contents(run: Run) -> dict[str, str]:
    """Every output's digest, and every step's log."""
    found = {}
    for step in run.steps():
        manifest = run.manifest(step)
        assert manifest is not None
        for name, artifact in manifest.artifacts().items():
            found |= {f"{step}/{name}/{role}": file.content for role, file in artifact.files.items()}
        found[f"{step}/metrics.jsonl"] = run.metrics_path(step).read_text()
    return found


def disturb(recipe: str, folder: Path, kills: int, total: float, seed: int, more: list[str]) -> list[Kill]:
    """Start, wait, kill, verify; until as many kills are done. A run that is finished before that is begun again."""
    chosen, done, number = random.Random(seed), [], 0
    while len(done) < kills:
        run = Run(folder / f"cut-{number}")
        process = start(recipe, run.root, more)
        after = chosen.uniform(0.5, max(2.0, 3 * total / kills))
        try:
            _, said = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            which = chosen.choice(SIGNALS)
            process.send_signal(which)
            sent = time.monotonic()
            _, said = process.communicate(timeout=600)
            done.append(Kill(which, after, process.returncode, time.monotonic() - sent))
            print(f"kill {len(done)}/{kills}: {which.name} after {after:.1f} s, exit {process.returncode}, "
                  f"ended in {done[-1].seconds:.1f} s", file=sys.stderr, flush=True)  # fmt: skip
            expected = {-signal.SIGKILL} if which == signal.SIGKILL else {CLEAN, 0} | STARTING
        else:
            number, expected = number + 1, {0}
        if process.returncode not in expected:
            sys.exit(f"unexpected exit {process.returncode}:\n{said.decode()[-3000:]}")
        if run.steps() and (problems := problems_of(run)):
            sys.exit(f"the run does not verify: {problems}")
    process = start(recipe, run.root, more)
    _, said = process.communicate()
    if process.returncode:
        sys.exit(f"the last start ended with {process.returncode}:\n{said.decode()[-3000:]}")
    return done


def table(kills: list[Kill]) -> str:
    """A row a signal."""
    rows = ["| signal | kills | exit codes | slowest end |", "|---|---:|---|---:|"]
    for which in SIGNALS:
        own = [kill for kill in kills if kill.signal == which]
        codes = Counter(kill.code for kill in own)
        told = ", ".join(f"{code}: {n}" for code, n in sorted(codes.items()))
        slowest = max((kill.seconds for kill in own), default=0.0)
        rows.append(f"| {which.name} | {len(own)} | {told} | {slowest:.1f} s |")
    return "\n".join(rows)


def main() -> None:
    """Parse, run straight, run disturbed, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", help="step.key=value")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # equal thread counts, equal bytes
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        folder = Path(place)
        began = time.monotonic()
        process = start(given.recipe, folder / "straight", given.overrides)
        _, said = process.communicate()
        if process.returncode:
            sys.exit(said.decode())
        total = time.monotonic() - began
        print(f"straight: {human_seconds(total)}", file=sys.stderr, flush=True)
        began = time.monotonic()
        kills = disturb(given.recipe, folder, given.kills, total, given.seed, given.overrides)
        spent = time.monotonic() - began
        straight = contents(Run(folder / "straight"))
        others = [Run(path) for path in sorted(folder.glob("cut-*"))]
        differing = [name for run in others for name in straight if contents(run).get(name) != straight[name]]
        same = sum(name.count("/") == 2 for name in straight)
    print(
        f"`python tests/soak.py --kills {given.kills} {Path(given.recipe).name} {' '.join(given.overrides)}`".replace(
            " `", "`"
        )
    )
    print(f"\n{table(kills)}\n")
    verdict = f"**{len(differing)} differ**: {differing[:5]}" if differing else "all are those of the straight run"
    print(
        f"{len(kills)} kills over {len(others)} runs; {same} digests and {len(straight) - same} logs: {verdict}. Every run"
    )
    print(
        f"was verified after every kill. Straight {human_seconds(total)}, disturbed {human_seconds(spent)}; ticketcli"
    )
    print(
        f"{__version__}, Python {platform.python_version()}, seed {given.seed}, {os.environ['OMP_NUM_THREADS']} thread(s)."
    )
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
