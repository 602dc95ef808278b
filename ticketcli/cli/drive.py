"""Bringing one step up to date: say what will happen, cross to the heavy side only if there is something to do."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ticketcli.board import mirror_finished, require_tensorboard
from ticketcli.cli import process
from ticketcli.cli.membership import hand_over
from ticketcli.data.sources import Sources
from ticketcli.errors import InputMissing, Stopped
from ticketcli.launch.torchrun import Several
from ticketcli.plan import Step
from ticketcli.stopping import StopRequest
from ticketcli.store.run_folder import Run

_ALONE = Several()


def drive(
    name: str,
    run: Run,
    plan: Callable[[], Step],
    *,
    device: str,
    resume: str,
    save_every: float,
    quiet: bool,
    sources: Sources,
    tensorboard: bool = False,
    break_lock: bool = False,
    max_minutes: float | None = None,
    started: float | None = None,
    last: bool = True,
    several: Several = _ALONE,
) -> None:
    """Plan a step, and execute it unless it is fresh, in as many processes as are wanted.

    Raises:
        UsageError: TensorBoard is asked for and is not installed.
        InputMissing: an input has not been made, or put there.
        Stopped: a signal came, or `max_minutes` since `started` are nearly over; after the step's end too, unless it is
            the `last`.
    """
    if tensorboard:
        require_tensorboard()

    def speak(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    step = plan().anew() if resume == "never" else plan()
    if step.state not in ("waiting", "fresh"):
        hand_over(several, quiet=quiet)
    speak(f"{name}: {step.state}, {step.why}")
    if step.state == "fresh":
        if tensorboard:
            mirror_finished(run.step_folder(name), run.metrics_path(name))
        return
    if step.state == "waiting":
        raise InputMissing(f"'{name}' {step.why}, which is not there", where=str(run.root), hint=_way_out(step))
    process.share_the_machine()
    with StopRequest(max_minutes, started).listening() as stop:
        from ticketcli.execution.execute import execute  # torch is loaded here, and only here; that takes a second
        from ticketcli.execution.orders import Options

        if reason := stop.reason:
            raise Stopped(f"{reason}: before {name} began", hint="the same command continues")
        options = Options(device, resume, save_every, quiet, sources, tensorboard, break_lock)
        try:
            execute(run, name, plan, options, stop, speak=speak)
        except Stopped as error:
            if resume == "never":
                error.hint = "--resume auto continues; the same command would begin anew"
            raise
        if not last and (reason := stop.reason):
            raise Stopped(f"{reason}: {name} is finished", hint="the same command continues")


def _way_out(step: Step) -> str:
    """What to do about an input that is not there: a file from elsewhere, or what another step makes."""
    files = [role for role, ref in step.recipe.refs.items() if ref.path is not None and not ref.path.is_file()]
    if not files:
        return "make that first; 'ticket status' says what it needs"
    return f"put it there, or name it as {files[0]}: relative to here or absolute; --data-dir is for image sets alone"
