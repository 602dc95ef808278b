"""The imperative shell: locks a step, drives its stage, commits what that makes, saves states, obeys signals."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from ticketcli import __version__
from ticketcli.board import Board
from ticketcli.canon import digest
from ticketcli.errors import PeerLost, Stopped
from ticketcli.events import Event, JsonLines, Listener, Measured, Note, Opened, Pause, PlainLines, listeners
from ticketcli.execution.exchange import write_output
from ticketcli.execution.headline import headline
from ticketcli.execution.machine import (
    Speedometer,
    environment,
    forget_peaks,
    peak_gpu_memory,
    peak_memory,
    pick_device,
    settled,
)
from ticketcli.execution.opened import OpenedSets, opened_for
from ticketcli.execution.orders import Options, Order, agreed, given
from ticketcli.execution.saving import Captured, Saved, UnitStates
from ticketcli.execution.writer import Writer
from ticketcli.plan import Step
from ticketcli.recipe.configs import Training
from ticketcli.stage import Unit
from ticketcli.stopping import StopRequest, stopped
from ticketcli.store.lock import Held, locked
from ticketcli.store.manifest import Artifact, Manifest, UnitRecord, write_manifest
from ticketcli.store.run_folder import FOREIGN, STATE, Run
from ticketcli.tensors import ranks
from ticketcli.tensors.beside import moment_on
from ticketcli.training.yields import Produced, Snapshot, State


def execute(
    run: Run,
    name: str,
    plan: Callable[[], Step],
    options: Options,
    stop: StopRequest,
    *,
    speak: Callable[[str], None],
) -> Step:
    """Bring one step up to date; returns its plan as it was found under the lock.

    Raises:
        LockedError: another command works on it.
        PeerLost: another process of this command has ended.
        StaleError, NothingToResume: `resume` is must and there is nothing that may be continued.
        Stopped: a signal came, or the time is nearly over; the state is saved.
    """
    with locked(run.lock_path(name), what=name, break_lock=options.break_lock) as held:
        if held.broken:
            speak(f"{name}: the lock of another is broken ({held.broken})")
        step = plan()  # again, now that nobody else can change it
        if options.resume == "never":
            step = step.anew()
        if step.state == "fresh":
            return step
        if options.resume == "must":
            step.require_resumable(run)
        ranks.join()
        _Execution(run, step, options, stop, speak, held).go()
        return step


class _Execution:
    """One stage, driven from its first open unit to its last."""

    def __init__(
        self, run: Run, step: Step, options: Options, stop: StopRequest, speak: Callable[[str], None], held: Held
    ) -> None:
        self.run, self.step, self.options, self.stop, self.speak, self.held = run, step, options, stop, speak, held
        self.folder = run.step_folder(step.name)
        self.device = pick_device(options.device)
        self.manifest = self._manifest()
        self.before: tuple[Artifact, ...] = self.manifest.units[step.done[-1].name].outputs if step.done else ()
        self.states = self._states(step.todo[0])
        forget_peaks(self.device)  # of the step before
        self.speedometer = Speedometer()
        self.unit_started = time.monotonic()
        self.saved_at = time.monotonic()
        self.spent = 0.0
        self.precision = ""  # of the training; "" where there is none
        self.writer = Writer()
        # at the end of a training and not yet saved, for what follows may be stopped
        self.trained: Captured | None = None
        self.is_saved = False  # a state of the unit under way

    def _manifest(self) -> Manifest:
        step, config = self.step, self.step.recipe.config
        known = self.run.manifest(step.name)
        identities = {role: bound.artifact.identity for role, bound in step.inputs.items() if not bound.series}
        return Manifest(
            step=step.name,
            stage=step.spec.name,
            stage_version=step.spec.version,
            code_version=__version__,
            config=config.resolved(),
            config_digest=digest(config.identity()),
            inputs={
                "refs": {role: bound.ref for role, bound in step.inputs.items()},
                "identities": identities,
                "files": {
                    role: bound.artifact.files["values"].model_dump(mode="json")
                    for role, bound in step.inputs.items()
                    if not bound.series and bound.artifact.kind == FOREIGN
                },
            },
            units=dict(known.units) if known else {},
            status="partial",
        )

    def go(self) -> None:
        """Run the stage to its end, or to a signal.

        The stage is begun, up to its first word, before anything is moved aside or written: settings that turn out to
        be unusable leave what is there as it is.
        """
        anew = not self.step.done and self.step.state != "partial"
        saved = None if anew else self._resume_state()
        self.is_saved = saved is not None
        lines = PlainLines(self.step.name)  # while images are fetched and decoded, and the stage itself cannot speak
        self.opened = self._opened(saved)

        def hear(event: Event) -> None:
            if isinstance(event, Opened):
                self.opened.hear(event)
            elif not self.options.quiet:
                lines.on(event)

        self._settle(saved)
        order = Order(self.step, self.folder, self.before, saved.state if saved else None, self.options, self.precision)
        with given(order):
            events = order.begin(self.stop, hear)
            with closing(events):  # whatever ends the step, the stage lets go of its workers
                self._drive(events, anew, saved)

    def _opened(self, saved: Saved | None) -> OpenedSets:
        done = {unit.name: self.manifest.units[unit.name] for unit in self.step.done}
        own = opened_for(self.manifest.model_copy(update={"units": done}))
        steps = {bound.ref.partition("/")[0] for bound in self.step.inputs.values()}
        inputs = [made for name in sorted(steps) if (made := self.run.manifest(name))]
        return OpenedSets(self.step.name, {**own, **(saved.opened if saved else {})}, inputs, self._say)

    def _settle(self, saved: Saved | None) -> None:
        """On a precision, where the settings leave that to the machine: once for all units and all resumptions."""
        if not isinstance(config := self.step.recipe.config, Training):
            return
        known = [self.manifest.units[unit.name].environment.get("precision", "") for unit in self.step.done]
        before = saved.state.get("precision", "") if saved is not None else ""
        self.precision = settled(config, self.device, before=before or next(filter(None, known), "")).precision

    def _drive(self, events: Generator[Any, None, None], anew: bool, saved: Saved | None) -> None:
        first = next(events)
        self._make_room(anew)
        (self.folder / STATE).mkdir(parents=True, exist_ok=True)
        write_manifest(self.folder, self.manifest)
        with ExitStack() as stack:
            mirror = Board(self.folder) if self.options.tensorboard else None
            metrics = JsonLines(self.run.metrics_path(self.step.name), mirror=mirror)
            told = listeners(self.step.name, quiet=self.options.quiet, extra=[metrics])
            for listener in told:
                stack.callback(listener.close)
            stack.callback(self.writer.end)
            metrics.cut(*(self._finished_log() if saved is None else (saved.log_end, saved.log_sha256)))
            todo = list(self.step.todo)
            end = self.step.spec.units(self.step.recipe.config)[-1]  # of the step; fewer units may have been asked for
            for event in chain([first], self._heard(events, metrics)):
                self.writer.look()
                if isinstance(event, Snapshot):
                    self._maybe_save(event, todo[0], metrics)
                elif isinstance(event, Pause) and (reason := self._poll()):
                    raise self._stop_measuring(reason, event, todo[0], metrics)
                elif isinstance(event, Produced):
                    self._commit(event, todo[0], metrics, told, last=todo[0] == end)
                    todo.pop(0)
                    if todo:
                        self.states = self._states(todo[0])
                    if todo and (reason := agreed(self.stop.reason)):
                        raise self._stopped(reason, f"{event.unit} is finished")
                else:
                    self.speedometer.on(event)
                    for listener in told:
                        listener.on(event)

    def _heard(self, events: Generator[Any, None, None], metrics: JsonLines) -> Generator[Any, None, None]:
        """The stage's events; if it stops between two, as it may when it reads images, what was trained is saved."""
        try:
            yield from events
        except (Stopped, PeerLost):
            self._save_trained(metrics)
            raise

    def _make_room(self, anew: bool) -> None:
        """Move aside what the new outputs supersede: all of it, or the units that no longer match."""
        if anew:
            kept = self.run.retire(self.step.name)
            if kept is not None:
                self.speak(f"{self.step.name}: the old results are kept in {kept}")
        else:
            units = self.step.spec.units(self.step.recipe.config)
            superseded = [unit.name for unit in units[len(self.step.done) :] if unit.name in self.manifest.units]
            if self.run.retire(self.step.name, superseded) is not None:
                self.speak(f"{self.step.name}: {', '.join(superseded)} no longer match; the old files are kept")
        self.manifest = self._manifest()

    def _finished_log(self) -> tuple[int, str]:
        """Where the metrics of the finished units end, and the sha256 of all before."""
        ends = [(unit.metrics_end, unit.metrics_sha256) for unit in self.manifest.units.values()]
        return max(ends, default=(0, ""))

    # ------------------------------------------------------------------ state

    def _states(self, unit: Unit) -> UnitStates:
        """The saved states of a unit that follows what is made so far."""
        metrics, key = self.run.metrics_path(self.step.name), self.step.key(unit, self.before)
        return UnitStates(self.folder / STATE, metrics, unit.name, key)

    def _resume_state(self) -> Saved | None:
        """The newest good state of the first open unit; what becomes of it is said."""
        found = self.states.newest(self._say)
        if found is not None:
            self.spent = found.seconds
            self._say(f"resume: {self.states.unit}, step {found.state['iteration']}, verified")
        elif self.step.done:
            self._say(f"resume: {len(self.step.done)} done, next is {self.states.unit}")
        return found

    def _say(self, text: str) -> None:
        self.speak(f"{self.step.name}: {text}")

    def _poll(self) -> str:
        """Why to stop now, all processes alike; "" to go on."""
        self.stop.stepped()
        return agreed(self.stop.reason)

    def _maybe_save(self, snapshot: Snapshot, unit: Unit, metrics: JsonLines) -> None:
        reason = self._poll()
        due = bool(reason) or time.monotonic() - self.saved_at >= self.options.save_every
        if due and not reason and self.writer.is_busy and self.options.save_every:
            due = False  # one save at a time: this one is for the next moment
        if not due and not snapshot.last:
            return
        self.writer.finish()  # also before measuring, which may start processes
        captured = Captured(
            snapshot.capture(), metrics.offset, metrics.sha256, moment_on(self.device), dict(self.opened.found)
        )
        if not due:
            self.trained = captured
            return
        self.trained = None  # what was captured before is older
        self._save(captured, metrics, None if snapshot.last else snapshot.release)
        if reason:
            self.writer.finish()
            raise self._stopped(reason, f"{unit.name}, step {captured.state['iteration']} is saved")

    def _save(self, captured: Captured, metrics: JsonLines, release: Callable[[State], None] | None = None) -> None:
        """Have a state written while the stage goes on."""
        states, seconds = self.states, self.spent + time.monotonic() - self.unit_started

        def write() -> None:
            metrics.sync()
            self.held.check()
            states.save(captured, seconds)

        def written(took: float) -> None:
            self.stop.saved(took)
            if release is not None:
                release(captured.state)

        self.writer.begin(write, written)
        self.is_saved, self.saved_at = True, time.monotonic()

    def _save_trained(self, metrics: JsonLines) -> None:
        if self.trained is not None:
            self._save(self.trained, metrics)
            self.trained = None
        self.writer.finish()

    def _stop_measuring(self, reason: str, pause: Pause, unit: Unit, metrics: JsonLines) -> Stopped:
        """What was trained is saved; what was measured of it is measured anew."""
        where = f"{pause.what} {pause.done}/{pause.total}"
        self._save_trained(metrics)
        if not self.is_saved:
            return self._stopped(reason, f"{unit.name}, {where}, will begin anew")
        return self._stopped(reason, f"{unit.name}, {where}; what was trained is saved")

    def _stopped(self, reason: str, what: str) -> Stopped:
        return stopped(reason, what, where=self.step.name)

    # ------------------------------------------------------------------ outputs

    def _commit(self, produced: Produced, unit: Unit, metrics: JsonLines, told: list[Listener], *, last: bool) -> None:
        """Write the files, then the manifest: only then does the unit count as done."""
        if produced.unit != unit.name:
            raise AssertionError(f"the stage made {produced.unit}, planned was {unit.name}")
        self.writer.finish()
        held = {role: bound.artifact.files for role, bound in self.step.inputs.items()}
        inputs = {role: files["values"] for role, files in held.items() if "values" in files}
        made, written = self.manifest.artifacts(), []
        for output in produced.outputs:
            written.append(write_output(self.folder, output, inputs, made))
            made = {**made, output.name: written[-1]}
        outputs = tuple(written)
        for listener in told:
            listener.on(Measured("unit", {"unit": unit.name, **produced.metrics}))
        metrics.sync()
        speed = self.speedometer.read()
        record = UnitRecord(
            key=self.step.key(unit, self.before),
            outputs=outputs,
            metrics={**produced.metrics, "metrics_end": metrics.offset},
            metrics_sha256=metrics.sha256,
            seconds=round(self.spent + time.monotonic() - self.unit_started, 3),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            environment=self._environment(speed),
            opened=dict(self.opened.found),
        )
        self.manifest = self.manifest.model_copy(
            update={
                "units": {**self.manifest.units, unit.name: record},
                "status": "done" if last else "partial",
            }
        )
        self.held.check()
        write_manifest(self.folder, self.manifest)
        self.states.drop()
        self.before, self.spent, self.trained, self.is_saved = outputs, 0.0, None, False
        self.unit_started = self.saved_at = time.monotonic()
        gpu = peak_gpu_memory(self.device)
        for listener in told:
            listener.on(
                Note(
                    f"{unit.name} done in {record.seconds:.1f}s{headline(produced.metrics, speed, peak_memory(), gpu)}"
                )
            )
        forget_peaks(self.device)

    def _environment(self, speed: float | None) -> dict[str, Any]:
        """What a unit was made with, and how it went."""
        found = environment(self.device)
        found |= {"precision": self.precision} if self.precision else {}
        return found if speed is None else found | {"images_per_second": speed}
