"""`ticket`: its commands, each loaded only when called, and the one border where errors become exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ticketcli import __version__
from ticketcli.cli.completion import is_completing, run_for_shell
from ticketcli.cli.endings import describe
from ticketcli.launch.member import this_member

PIPELINE, RUNS, FILES = "The pipeline, in order", "Runs", "Files and recipes"
STUDIES = "Studies"
AWAY = "Out of the run"

# name -> (module, summary, panel). Summaries stand here so that help loads nothing.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "pretrain": ("stage_command", "Train a dense network on a source image set.", PIPELINE),
    "import": ("stage_command", "Bring in a dense network: published weights, or a file made elsewhere.", PIPELINE),
    "train-decoder": ("stage_command", "Train the decoder that rebuilds images from the frozen encoder.", PIPELINE),
    "prune": ("stage_command", "Drop weights or channels, round by round; one mask per round.", PIPELINE),
    "rewind": ("stage_command", "Set a ticket's living weights to chosen values, all others to zero.", PIPELINE),
    "compact": (
        "stage_command",
        "Leave the fallen channels of a ticket out: a smaller dense network.",
        PIPELINE,
    ),
    "transfer": ("stage_command", "Train a ticket on a target task, its mask enforced.", PIPELINE),
    "evaluate": ("stage_command", "Measure accuracy, reconstruction, sparsity and size.", PIPELINE),
    "run": ("run", "Run a recipe: skip what is fresh, resume what was cut, make the rest.", RUNS),
    "status": ("status", "Show which steps are fresh, partial, stale, missing or waiting, and why.", RUNS),
    "report": ("report", "Print the results tables of runs, or make a page of them.", RUNS),
    "slurm": ("slurm", "Write the job scripts of a recipe for a SLURM cluster, and submit them.", RUNS),
    "inspect": ("inspect", "Show what a checkpoint, a mask or a step holds.", FILES),
    "doctor": ("doctor", "Check the machine, the file system and the space before a run has to.", FILES),
    "bench": ("bench", "Measure the hot paths here, against their peers, in pairs.", FILES),
    "data": ("data", "Check a set with outlined objects; write one out in COCO's format.", FILES),
    "masks": ("masks", "Compare masks, and what chance explains of their overlap; join them.", FILES),
    "verify": ("verify", "Read every file of a run again and compare with what was written.", FILES),
    "gc": ("gc", "List what a run no longer needs, and delete it if you say yes.", FILES),
    "recipes": ("recipes", "List, show or copy the recipes that come with ticketcli.", FILES),
    "validate": ("validate", "Check a recipe and show all that is wrong with it at once.", FILES),
    "export": ("export", "Write a ticket packed, as ONNX, or several on one backbone, with a model card.", AWAY),
    "explain": ("explain", "Show what networks look at, several of them on the same images.", STUDIES),
    "theory": ("theory", "Run the papers' theorems as experiments, with controls.", STUDIES),
}


class LazyGroup(TyperGroup):
    """Commands by name; help shows their summaries, and only a command that is called is imported."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in that carries the summary, for help."""
        if cmd_name not in COMMANDS:
            return None
        _, summary, panel = COMMANDS[cmd_name]
        return TyperCommand(cmd_name, help=summary, rich_help_panel=panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command, imported now."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        if stand_in is None or name is None:
            return name, stand_in, rest
        module = importlib.import_module(f"ticketcli.cli.{COMMANDS[name][0]}")
        command = module.command(name)
        return name, command, rest


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ticket {__version__}")
        raise typer.Exit


app = typer.Typer(cls=LazyGroup, add_completion=True, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Search for universal winning tickets: prune a vision backbone once, transfer it to many tasks.

    Each command is a step that can be cut and run again: the same command continues. An independent, unofficial
    implementation of "Reconstruction Task Finds Universal Winning Tickets".
    """


def main() -> None:
    """Run the command line; errors become one clear message and the documented exit code."""
    if is_completing():
        run_for_shell(partial(app, prog_name="ticket"))
        return
    member = this_member()
    if member is not None:
        from ticketcli.cli.membership import take_part

        take_part(member, partial(app, prog_name="ticket"))
    try:
        app(prog_name="ticket")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        code, text = describe(error)
        print(text, file=sys.stderr)
        sys.exit(code)


if __name__ == "__main__":
    main()
