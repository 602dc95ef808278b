"""What all commands share: the flags of the process, which change no result, and how a function becomes a command."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.cli.completion import words
from ticketcli.errors import UsageError

_PANEL = "Process"
RunOption = Annotated[Path, typer.Option("--run", help="The run folder.", rich_help_panel=_PANEL)]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        help="auto, cpu, cuda or cuda:N.",
        rich_help_panel=_PANEL,
        autocompletion=words("auto", "cpu", "cuda"),
    ),
]
_RESUME = ("auto", "must", "never")


def _check_resume(ctx: typer.Context, value: str) -> str:
    if value not in _RESUME and not ctx.resilient_parsing:
        raise UsageError(f"--resume is '{value}'", where="--resume", hint="auto, must or never")
    return value


ResumeOption = Annotated[
    str,
    typer.Option(
        "--resume",
        help="auto: continue, remake what is stale; must: refuse instead; never: begin anew.",
        autocompletion=words(*_RESUME),
        callback=_check_resume,
        rich_help_panel=_PANEL,
    ),
]
SaveOption = Annotated[
    float, typer.Option("--save-every", min=0, help="Seconds between saved states.", rich_help_panel=_PANEL)
]
MaxMinutesOption = Annotated[
    float | None,
    typer.Option(
        "--max-minutes",
        min=0,
        metavar="N",
        help="Stop in time by itself, the state saved, with exit code 75.",
        rich_help_panel=_PANEL,
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.", rich_help_panel=_PANEL)
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object.", rich_help_panel=_PANEL)
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.", rich_help_panel=_PANEL)]
DataDirOption = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="TICKET_DATA",
        help="Where image sets lie: named ones, and those of a relative path. Other files are looked up from here.",
        rich_help_panel=_PANEL,
    ),
]
DownloadOption = Annotated[
    bool, typer.Option("--download", help="Fetch a named image set that is missing.", rich_help_panel=_PANEL)
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=0, help="Processes that decode images (default: as cores allow).", rich_help_panel=_PANEL
    ),
]
SkipBadOption = Annotated[
    bool,
    typer.Option("--skip-bad", help="Short for --data.broken skip: leave out what is broken, and list it."),
]
DATA_DIR = Path("data")
BreakLockOption = Annotated[
    bool,
    typer.Option(
        "--break-lock",
        help="Take over from a process on another machine that you know to be gone.",
        rich_help_panel=_PANEL,
    ),
]
TensorBoardOption = Annotated[
    bool,
    typer.Option(
        "--tensorboard",
        help="Mirror the metrics of each step into STEP/tensorboard/.",
        rich_help_panel=_PANEL,
    ),
]
NprocOption = Annotated[
    int,
    typer.Option(
        "--nproc", min=1, help="Processes that share the work: torchrun, done for you.", rich_help_panel=_PANEL
    ),
]
NodesOption = Annotated[
    int, typer.Option("--nodes", min=1, help="Machines that --nproc is for, each given this.", rich_help_panel=_PANEL)
]
NodeOption = Annotated[
    int | None,
    typer.Option("--node", envvar="SLURM_NODEID", help="Which of the machines this is.", rich_help_panel=_PANEL),
]
RendezvousOption = Annotated[
    str,
    typer.Option("--rendezvous", metavar="HOST:PORT", help="A free port of machine 0.", rich_help_panel=_PANEL),
]
_VERBOSE = "verbose"
VerboseOption = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Say where an error comes from: its traceback.", rich_help_panel=_PANEL),
]


def lone_command(name: str, function: Callable[..., None], *, text: str | None = None) -> Any:
    """A click command made by typer from a function's signature, for the lazy group to hand out."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name, help=text)(_with_verbose(function))
    return typer.main.get_command(app)


def command_group(root: Callable[[], None], **commands: Callable[..., None]) -> Any:
    """A group of commands by name, `ticket GROUP NAME`; `root` carries the group's own help."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
    app.callback()(root)
    for name, function in commands.items():
        app.command(name)(_with_verbose(function))
    return typer.main.get_command(app)


def _with_verbose(function: Callable[..., None]) -> Callable[..., None]:
    """The same with -v, of which the function is told nothing: `endings.py` looks for it when it tells an error."""

    @functools.wraps(function)
    def command(**given: Any) -> None:
        del given[_VERBOSE]
        function(**given)

    known = inspect.signature(function, eval_str=True)
    verbose = inspect.Parameter(_VERBOSE, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=VerboseOption)
    parameters = [*known.parameters.values(), verbose]
    command.__signature__ = known.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def share_the_machine() -> None:
    """Let waiting threads sleep soon instead of spinning; no result changes. To be called before torch is loaded.

    Measured on 2 cores, a training step: with one core busy 0.3 s instead of 1.7 s; alone 107 and 136 ms, against 110
    and 115 ms, two runs each, too few to tell apart.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
