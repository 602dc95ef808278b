"""`ticket --help` as a process, against a bare typer app and torchrun's help."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.stage import STAGES

_OURS = (sys.executable, "-m", "ticketcli", "--help")
_TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--help")
_BARE = '''
import typer
app = typer.Typer()
@app.command()
def hello(name: str = "world") -> None:
    """Say hello."""
    print(name)
@app.command()
def bye(name: str = "world") -> None:
    """Say good-bye."""
    print(name)
app()
'''
_HEAVY = ("torch", "torchvision", "numpy", "scipy", "sklearn")


def run(job: BenchJob) -> Iterator[Row]:
    """Both as fresh processes of the same interpreter."""
    script = job.folder / "bare.py"
    script.write_text(_BARE)
    peers: dict[str, tuple[tuple[str, ...], Goal]] = {
        "a bare typer app": ((sys.executable, str(script), "--help"), Goal("cost", 1.3)),
        "torchrun --help": (_TORCHRUN, Goal("faster", 10)),
    }
    for peer, (command, goal) in peers.items():
        yield job.compare(
            "ticket --help", _runner(_OURS), peer, _runner(command), equality=partial(_help, command),
            goal=goal,
        )  # fmt: skip


def _runner(command: tuple[str, ...]) -> Callable[[], str]:
    def go() -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        return done.stdout

    return go


def imported(arguments: tuple[str, ...]) -> set[str]:
    """The modules that a command line loads."""
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('\\n' + ' '.join(sys.modules), file=sys.stderr))\n"
        f"sys.argv = ['ticket', *{list(arguments)!r}]\n"
        "from ticketcli.cli.app import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


def _help(command: tuple[str, ...]) -> Equality:
    """Both print help; ours names every command, and loads nothing heavy for it."""
    mine, other = _runner(_OURS)(), _runner(command)()
    modules = imported(("--help",))
    good = all(name in mine for name in STAGES) and "sage" in other and not modules & set(_HEAVY)
    return same("help", good, f"{len(modules)} modules, no torch")
