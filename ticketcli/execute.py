"""The imperative shell: locks a step, loads its inputs, drives the stage, commits what it makes, keeps snapshots."""

from __future__ import annotations

import importlib
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from ticketcli import __version__
from ticketcli.board import Board
from ticketcli.canon import digest
from ticketcli.data.sources import Sources
from ticketcli.errors import CorruptError, NothingToResume, StaleError, Stopped
from ticketcli.events import Event, JsonLines, Listener, Measured, Note, PlainLines, listeners
from ticketcli.exchange import load_input, write_output
from ticketcli.launch.member import this_member
from ticketcli.log import check_log
from ticketcli.machine import Speedometer, environment, peak_memory, pick_device
from ticketcli.plan import Step
from ticketcli.stage import StageSpec, Unit
from ticketcli.stages.job import Job
from ticketcli.store.generations import Generations
from ticketcli.store.lock import Held, locked
from ticketcli.store.manifest import Artifact, Manifest, UnitRecord, write_manifest
from ticketcli.store.run_folder import FOREIGN, STATE, Run
from ticketcli.tensors.files import read_state, write_state
from ticketcli.training.yields import Produced, Snapshot, State
from ticketcli.units import human_bytes


@dataclass(frozen=True)
class _Saved:
    """A saved state, the seconds that it took, and the length and digest of `metrics.jsonl` when it was saved."""

    state: State
    seconds: float
    log_end: int
    log_sha256: str


@dataclass(frozen=True)
class Options:
    """What a process is told that changes no result.

    Attributes:
        device: cpu, cuda, cuda:1 ...; auto takes the GPU where there is one.
        resume: auto goes on and reruns what is stale, must refuses to begin anew, never begins anew.
        save_every: seconds between saved states; 0 saves after every step.
        quiet: no progress.
        sources: where image sets lie, and how they are read.
        tensorboard: whether the metrics are mirrored for TensorBoard.
        break_lock: whether the lock of another machine's process is broken unasked.
    """

    device: str = "auto"
    resume: str = "auto"
    save_every: float = 60.0
    quiet: bool = False
    sources: Sources = field(default_factory=Sources)
    tensorboard: bool = False
    break_lock: bool = False


class StopRequest:
    """SIGTERM, SIGINT and SIGUSR2 as a flag, polled between steps; a second SIGINT ends at once with 130.

    Under torchrun one Ctrl-C can arrive twice, from the terminal and from torchrun: within a second it is the same.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._at = 0.0

    def _on(self, number: int, _frame: object) -> None:
        again = number == signal.SIGINT and self.signal == signal.SIGINT
        if again and this_member() is not None and time.monotonic() < self._at + 1.0:
            return
        if again:
            raise SystemExit(130)
        self.signal, self._at = signal.Signals(number), time.monotonic()

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle the signals for the length of the block, then put back what was there."""
        before = {number: signal.signal(number, self._on) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


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
        LockedError: another process works on it.
        StaleError, NothingToResume: `resume` is must and there is nothing that may be continued.
        Stopped: a signal came; the state is saved.
    """
    with locked(run.lock_path(name), what=name, break_lock=options.break_lock) as held:
        if held.broken:
            speak(f"{name}: the lock of another is broken ({held.broken})")
        step = plan()  # again, now that nobody else can change it
        if step.state == "fresh" and options.resume != "never":
            return step
        _refuse(run, step, options)
        if options.resume == "never":
            step = replace(step, state="missing", done=(), todo=(*step.done, *step.todo))
        _Execution(run, step, options, stop, speak, held).go()
        return step


def _refuse(run: Run, step: Step, options: Options) -> None:
    if options.resume == "must" and step.state == "stale":
        raise StaleError(
            f"'{step.name}' is stale: {step.why}",
            where=str(run.root),
            hint="run with --resume auto to make it anew; the old is kept",
        )
    if options.resume == "must" and step.state == "missing":
        raise NothingToResume(
            f"nothing to resume for '{step.name}'", where=str(run.root), hint="run with --resume auto"
        )


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
        self.generations = Generations(self.folder / STATE, step.todo[0].name)
        self.speedometer = Speedometer()
        self.unit_started = time.monotonic()
        self.saved_at = time.monotonic()
        self.spent = 0.0

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
        events = runner_of(self.step.spec)(self._job(saved.state if saved else None))
        with closing(events):  # whatever ends the step, the stage lets go of its workers
            self._drive(events, anew, saved)

    def _drive(self, events: Generator[Any, None, None], anew: bool, saved: _Saved | None) -> None:
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
            metrics.cut(*(self._finished_log() if saved is None else (saved.log_end, saved.log_sha256)))
            todo = list(self.step.todo)
            end = self.step.spec.units(self.step.recipe.config)[-1]  # of the step; fewer units may have been asked for
            for event in chain([first], events):
                if isinstance(event, Snapshot):
                    self._maybe_save(event, todo[0], metrics)
                elif isinstance(event, Produced):
                    self._commit(event, todo[0], metrics, told, last=todo[0] == end)
                    todo.pop(0)
                    if todo:
                        self.generations = Generations(self.folder / STATE, todo[0].name)
                    if self.stop.signal is not None and todo:
                        raise self._stopped(f"{event.unit} is finished")
                else:
                    self.speedometer.on(event)
                    for listener in told:
                        listener.on(event)

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

    # ------------------------------------------------------------------ inputs

    def _job(self, resume: State | None) -> Job[Any]:
        inputs = {
            role: load_input(bound.ref, bound.artifact) for role, bound in self.step.inputs.items() if not bound.series
        }
        series = {
            role: {name: load_input(f"{bound.ref}/{name}", artifact) for name, artifact in bound.artifacts.items()}
            for role, bound in self.step.inputs.items()
            if bound.series
        }
        before = None
        if self.before:
            last = self.before[0]
            files = {
                role: record.model_copy(update={"path": str(record.locate(self.folder))})
                for role, record in last.files.items()
            }
            before = load_input(last.name, last.model_copy(update={"files": files}))
        sources = replace(self.options.sources, tell=self._hear())
        return Job(self.step.recipe.config, inputs, series, self.step.todo, before, resume, self.device, sources)

    def _hear(self) -> Callable[[Event], None]:
        """Who is told while images are fetched and decoded, when the stage itself cannot speak; obeys signals."""
        lines = PlainLines(self.step.name)

        def hear(event: Event) -> None:
            if self.stop.signal is not None:
                raise self._stopped("while the images were read")
            if not self.options.quiet:
                lines.on(event)

        return hear

    # ------------------------------------------------------------------ state

    def _resume_state(self) -> _Saved | None:
        """The newest good state of the first open unit; a damaged one is passed over, and said so."""
        unit = self.step.todo[0]
        found = self.generations.recall(lambda path: self._read_saved(path, unit), self._say)
        if found is not None:
            self.spent = found.seconds
            self._say(f"resume: {unit.name}, step {found.state['iteration']}, verified")
        elif self.step.done:
            self._say(f"resume: {len(self.step.done)} done, next is {unit.name}")
        return found

    def _say(self, text: str) -> None:
        self.speak(f"{self.step.name}: {text}")

    def _read_saved(self, path: Path, unit: Unit) -> _Saved | None:
        state, about = read_state(path)
        if about.get("key") != self.step.key(unit, self.before):
            return None
        try:
            log = int(about["metrics_offset"]), str(about.get("metrics_sha256", ""))
            found = _Saved({**state, "iteration": int(state["iteration"])}, float(about["seconds"]), *log)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"it lacks what every state has: {error!r}", where=str(path)) from None
        check_log(self.run.metrics_path(self.step.name), found.log_end, found.log_sha256)
        return found

    def _maybe_save(self, snapshot: Snapshot, unit: Unit, metrics: JsonLines) -> None:
        due = time.monotonic() - self.saved_at >= self.options.save_every
        if not due and self.stop.signal is None:
            return
        state = snapshot.capture()
        metrics.sync()
        about = {
            "unit": unit.name,
            "key": self.step.key(unit, self.before),
            "metrics_offset": metrics.offset,
            "metrics_sha256": metrics.sha256,
            "seconds": self.spent + time.monotonic() - self.unit_started,
        }
        self.held.check()
        self.generations.commit(
            lambda path: write_state(path, state, about=about, check=lambda temporary: read_state(temporary) and None)
        )
        self.saved_at = time.monotonic()
        if self.stop.signal is not None:
            raise self._stopped(f"{unit.name}, step {state['iteration']} is saved")

    def _stopped(self, what: str) -> Stopped:
        assert self.stop.signal is not None
        return Stopped(f"{self.stop.signal.name}: {what}", where=self.step.name, hint="the same command continues")

    # ------------------------------------------------------------------ outputs

    def _commit(self, produced: Produced, unit: Unit, metrics: JsonLines, told: list[Listener], *, last: bool) -> None:
        """Write the files, then the manifest: only then does the unit count as done."""
        if produced.unit != unit.name:
            raise AssertionError(f"the stage made {produced.unit}, planned was {unit.name}")
        held = {role: bound.artifact.files for role, bound in self.step.inputs.items()}
        inputs = {role: files["values"] for role, files in held.items() if "values" in files}
        made = self.manifest.artifacts()
        outputs = tuple(write_output(self.folder, output, inputs, made) for output in produced.outputs)
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
            environment=environment(self.device) | ({} if speed is None else {"images_per_second": speed}),
        )
        self.manifest = self.manifest.model_copy(
            update={
                "units": {**self.manifest.units, unit.name: record},
                "status": "done" if last else "partial",
            }
        )
        self.held.check()
        write_manifest(self.folder, self.manifest)
        self.generations.drop()
        self.before, self.spent = outputs, 0.0
        self.unit_started = self.saved_at = time.monotonic()
        for listener in told:
            listener.on(Note(f"{unit.name} done in {record.seconds:.1f}s{_headline(produced.metrics, speed)}"))


def _headline(metrics: Mapping[str, Any], speed: float | None) -> str:
    parts = []
    if "sparsity" in metrics:
        parts.append(f"{metrics['sparsity']:.2%} sparse")
    for name in ("test", "validation", "healed_before"):
        if name in metrics:
            found, label = metrics[name], name.replace("healed_before", "finetuned")
            parts += [f"{label} top-1 {found['top1']:.2%}"] if "top1" in found else []
            parts += [f"PSNR {found['psnr']:.2f} dB"] if "psnr" in found else []
    found = metrics.get("test", metrics)
    parts += [f"mIoU {found['miou']:.2%}"] if found.get("miou") is not None else []
    for kind in ("box", "mask"):
        parts += [f"{kind} AP {100 * found[kind]['ap']:.1f}"] if found.get(kind, {}).get("ap") is not None else []
    parts += [f"trained at {speed:,.0f} img/s"] if speed is not None else []
    parts.append(f"peak memory {human_bytes(peak_memory())}")
    return ": " + ", ".join(parts)


def runner_of(spec: StageSpec) -> Callable[[Job[Any]], Generator[Any, None, None]]:
    """The generator function of a stage, its module loaded now."""
    module, _, name = spec.runner.partition(":")
    runner: Callable[[Job[Any]], Generator[Any, None, None]] = getattr(importlib.import_module(module), name)
    return runner
