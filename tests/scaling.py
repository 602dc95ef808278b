"""Time the same work in one process and in several, on an otherwise idle machine. By hand:

    python tests/scaling.py --nproc 2

Each of pretraining and a pruning round is made in 1, N, N and 1 processes, as often as wanted, so that a machine that
slows down meets both alike. The cores are shared out: a lone process has all of them, each of N its part. Seconds are
the unit's own, as its manifest has them, without the start of the processes; the whole command is told beside. Prints a
Markdown table for `recipes/results/`; what happens is told on stderr.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from ticketcli import __version__
from ticketcli.launch.torchrun import threads_each
from ticketcli.store.run_folder import Run

RECIPE = """
schema: 1
steps:
  dense: {stage: pretrain, arch: ARCH, batch: BATCH, epochs: STEPSit, milestones: [], data: DATA}
  pruned: {stage: prune, encoder: dense, lambda: 0, batch: BATCH, rounds: 1, finetune: STEPSit, heal: 0it}
"""
WORK = (("dense", "dense"), ("pruned", "round-01"))  # step, unit


@dataclass(frozen=True)
class Timing:
    """How long one command took, and the unit in it, in seconds; images a second in training."""

    whole: float
    unit: float
    speed: float


def measure(recipe: Path, run: Path, nproc: int) -> dict[str, Timing]:
    """Make each step anew in `nproc` processes."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"OMP_NUM_THREADS": threads(nproc)}
    found = {}
    for step, unit in WORK:
        began = time.monotonic()
        words = ["run", str(recipe), "--run", str(run), "--only", step, "--nproc", str(nproc), "--save-every", "9999"]
        subprocess.run(
            [sys.executable, "-m", "ticketcli", *words], env=environment, check=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        whole = time.monotonic() - began
        manifest = Run(run).manifest(step)
        assert manifest is not None
        record = manifest.units[unit]
        found[step] = Timing(whole, record.seconds, float(record.environment["images_per_second"]))
        print(f"{step} in {nproc}: {record.seconds:.1f} s of {whole:.1f} s", file=sys.stderr, flush=True)
    return found


def threads(nproc: int) -> str:
    """Each process's part of the cores, whatever is said elsewhere."""
    os.environ.pop("OMP_NUM_THREADS", None)
    return threads_each(nproc)


def rows(timings: dict[int, list[dict[str, Timing]]]) -> list[str]:
    """The table: medians, their span, and how much faster several are than one."""
    lines = ["| step | processes x threads | seconds, median (all) | images/s | faster | whole command, s |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for step, _ in WORK:
        alone = median(one[step].unit for one in timings[1])
        for nproc, found in timings.items():
            unit = sorted(one[step].unit for one in found)
            speed, whole = median(one[step].speed for one in found), median(one[step].whole for one in found)
            lines.append(
                f"| {step} | {nproc} x {threads(nproc)} | {median(unit):.1f} ({', '.join(f'{t:.1f}' for t in unit)}) "
                f"| {speed:,.0f} | {alone / median(unit):.2f} | {whole:.1f} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nproc", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="of the order 1, N, N, 1")
    parser.add_argument("--arch", default="resnet_small")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--data", default="digits")
    asked = parser.parse_args()
    text = RECIPE.replace("ARCH", asked.arch).replace("DATA", asked.data)
    text = text.replace("BATCH", str(asked.batch)).replace("STEPS", str(asked.steps))
    timings: dict[int, list[dict[str, Timing]]] = {1: [], asked.nproc: []}
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "scaling.yaml"
        recipe.write_text(text)
        for number, nproc in enumerate([1, asked.nproc, asked.nproc, 1] * asked.repeats):
            timings[nproc].append(measure(recipe, Path(folder) / str(number), nproc))
    print("\n".join(rows(timings)))
    print(
        f"\nBatch {asked.batch}, {asked.steps} steps, {asked.arch} on {asked.data}; ticketcli {__version__},", end=" "
    )
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}.")


if __name__ == "__main__":
    main()
