"""Recipe x run -> what is fresh, partial, stale, missing or waiting, and why. Reads manifests; loads nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from ticketcli.canon import digest
from ticketcli.errors import (
    CorruptError,
    InputMissing,
    NothingToResume,
    StaleError,
    UsageError,
    did_you_mean,
    raise_all,
)
from ticketcli.inputs import all_refs, fits, misfit, mistakes, no_initial_values, no_origin, taken
from ticketcli.recipe.config import Reference
from ticketcli.recipe.recipe import Recipe, RecipeStep, Ref
from ticketcli.stage import STAGES, StageSpec, Unit
from ticketcli.store.generations import Generations
from ticketcli.store.manifest import Artifact, FileRecord, Manifest, differences
from ticketcli.store.run_folder import FOREIGN, STATE, Run, adopt
from ticketcli.store.tensorfile import read_header

State = Literal["fresh", "partial", "stale", "missing", "waiting"]


@dataclass(frozen=True)
class Input:
    """A resolved input: one artifact, or a series by output name; file paths are absolute."""

    role: str
    ref: str
    artifacts: Mapping[str, Artifact]
    series: bool = False

    @property
    def artifact(self) -> Artifact:
        """The single artifact of an input that is no series."""
        return next(iter(self.artifacts.values()))


@dataclass(frozen=True)
class Step:
    """A recipe step seen against the run: its state, why, its inputs, and what there is left to do."""

    recipe: RecipeStep
    spec: StageSpec
    state: State
    why: str
    inputs: Mapping[str, Input]
    todo: tuple[Unit, ...]
    done: tuple[Unit, ...]

    @property
    def name(self) -> str:
        """The step's name, which is its folder's."""
        return self.recipe.name

    def key(self, unit: Unit, before: tuple[Artifact, ...]) -> str:
        """What decides a unit's result: stage and version, config, inputs, and the state the unit before left."""
        inputs = {
            role: bound.artifacts[unit.series].identity if bound.series and unit.series else bound.artifact.identity
            for role, bound in self.inputs.items()
            if not bound.series or unit.series
        }
        return digest(
            {
                "stage": self.spec.name,
                "version": self.spec.version,
                "config": self.recipe.config.identity(without=unit.ignores),
                "inputs": inputs,
                "unit": unit.name,
                "before": [artifact.identity for artifact in before],
            }
        )

    def up_to(self, *outputs: str) -> Step:
        """The same step with nothing to do beyond the units that make these outputs.

        Raises:
            UsageError: it makes no such output.
        """
        units = (*self.done, *self.todo)
        makers = {output: position for position, unit in enumerate(units, 1) for output in unit.outputs}
        for output in outputs:
            if output not in makers:
                hint = did_you_mean(output, makers)
                raise UsageError(f"'{self.name}' makes no '{output}'", where=f"{self.name}/{output}", hint=hint)
        end = max(makers[output] for output in outputs)
        done, todo = self.done[:end], self.todo[: max(0, end - len(self.done))]
        if todo or not self.todo:
            return replace(self, done=done, todo=todo)
        return replace(self, done=done, todo=(), state="fresh", why="what is asked for is there and matches")

    def anew(self) -> Step:
        """The same step with all of it to do, whatever is there: what `--resume never` does."""
        if self.state == "waiting":
            return self
        why = self.why if self.state == "missing" else "begins anew, the old is kept"
        return replace(self, state="missing", why=why, done=(), todo=(*self.done, *self.todo))

    def require_resumable(self, run: Run) -> None:
        """Refuse what `--resume must` refuses: to begin anew.

        Raises:
            StaleError, NothingToResume: it would.
        """
        if self.state == "stale":
            hint = "run with --resume auto to make it anew; the old is kept"
            raise StaleError(f"'{self.name}' is stale: {self.why}", where=str(run.root), hint=hint)
        if self.state == "missing":
            hint = "run with --resume auto"
            raise NothingToResume(f"nothing to resume for '{self.name}'", where=str(run.root), hint=hint)


class _Waiting(Exception):
    """An input is going to be made by a step that is not done yet, or is a file from elsewhere, to be put there."""

    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step


def plan_step(
    step: RecipeStep, run: Run, producers: Callable[[str], Step | None], *, as_recorded: bool = False
) -> Step:
    """See one step against the run. `producers` gives the plan of a step that it refers to, or None.

    `as_recorded` takes the manifest's word for the files, which a copy of the manifests does without, and for the
    stage's version: what was measured then, whatever is there now.

    Raises:
        InputMissing: an input is neither there nor going to be made.
        CorruptError: an output of this step was damaged on disk.
    """
    spec, manifest = STAGES[step.stage], run.manifest(step.name)
    if as_recorded and manifest is not None and manifest.stage == spec.name:
        spec = replace(spec, version=manifest.stage_version)
    units = spec.units(step.config)
    try:
        inputs = _bind(step, spec, run, producers)
    except _Waiting as waiting:
        return Step(step, spec, "waiting", f"waits for {waiting.step}", {}, units, ())
    blank = Step(step, spec, "missing", "not made yet", inputs, units, ())
    folder = run.step_folder(step.name)
    done: list[Unit] = []
    before: tuple[Artifact, ...] = ()
    lost = ""
    for unit in units:
        record = manifest.units.get(unit.name) if manifest else None
        if record is None or record.key != blank.key(unit, before):
            break
        lost = "" if as_recorded else _first_lost(record.outputs, folder)
        if lost:
            break
        done.append(unit)
        before = record.outputs
    todo = units[len(done) :]
    state, why = _judge(blank, manifest, done, todo, before, folder, lost)
    return Step(step, spec, state, why, inputs, todo, tuple(done))


def _judge(
    blank: Step,
    manifest: Manifest | None,
    done: list[Unit],
    todo: tuple[Unit, ...],
    before: tuple[Artifact, ...],
    folder: Path,
    lost: str,
) -> tuple[State, str]:
    if not todo:
        return "fresh", "all outputs are there and match"
    if done:
        cut = saved_state(folder, todo[0], blank.key(todo[0], before)) is not None
        words = f"{len(done)} of {len(done) + len(todo)} done, next is {todo[0].name}"
        words += ", cut, its state is saved" if cut else ""
        return "partial", f"{words} ({lost})" if lost else words
    if lost:
        return "missing", lost
    if saved_state(folder, todo[0], blank.key(todo[0], before)) is not None:
        return "partial", f"{todo[0].name} was cut, its state is saved"
    if manifest is None:
        return "missing", "not made yet"
    if not manifest.units:
        return "missing", "begun, nothing finished"
    return "stale", why_stale(blank, manifest)


def saved_state(folder: Path, unit: Unit, key: str) -> Path | None:
    """The newest saved state of a unit that was made for this key and has a readable header, or None."""
    for path in Generations(folder / STATE, unit.name).newest_first():
        try:
            if read_header(path).metadata.get("about", {}).get("key") == key:
                return path
        except (CorruptError, InputMissing):
            continue
    return None


def why_stale(step: Step, manifest: Manifest) -> str:
    """In words, what differs between the plan and what was made."""
    if manifest.stage != step.spec.name:
        return f"made by stage {manifest.stage}, now {step.spec.name}"
    if manifest.stage_version != step.spec.version:
        return f"made by version {manifest.stage_version} of this stage, now {step.spec.version}"
    now = step.recipe.config.resolved()
    ignored = {*step.recipe.refs, *step.recipe.config.without_result()}
    changed = [key for key in differences(manifest.config, now) if key not in ignored]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        return _changed(changed[0], manifest.config.get(changed[0]), now.get(changed[0])) + more
    recorded = manifest.inputs.get("identities", {})
    for role, bound in step.inputs.items():
        if not bound.series and recorded.get(role) != bound.artifact.identity:
            return f"its {role} ({bound.ref}) has changed"
    return "its inputs have changed"


def _changed(key: str, was: object, now: object) -> str:
    """``lr was 0.1, now 0.2``; of a setting that has settings of its own the first of these that differs."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        inner = next((name for name in now if was.get(name) != now[name]), "")
        if inner:
            return _changed(f"{key}.{inner}", was.get(inner), now[inner])
    return f"{key} was {was}, now {now}"


def _first_lost(outputs: tuple[Artifact, ...], folder: Path) -> str:
    for artifact in outputs:
        for file in artifact.files.values():
            if not file.locate(folder).is_file():
                return f"{file.path} is gone"
            file.check(folder, thorough=False)
    return ""


def _bind(step: RecipeStep, spec: StageSpec, run: Run, producers: Callable[[str], Step | None]) -> dict[str, Input]:
    producers = cache(producers)

    def maker(name: str) -> RecipeStep | None:
        planned = producers(name) if name else None
        return planned.recipe if planned is not None else None

    raise_all(list(mistakes(step, maker, where=step.name)))
    bound: dict[str, Input] = {}
    for role, mark in spec.config.references().items():
        if role in step.refs:
            ref, own = step.refs[role], run.manifest(step.name)
            bound[role] = _bind_one(role, ref, mark, run, producers, spec.units(step.config), own)

    def recorded(name: str) -> RecipeStep | None:
        planned = producers(name)
        return planned.recipe if planned is not None else recorded_step(run, name)

    refs = all_refs(step, recorded)
    if "rewind" in refs.keys() - step.refs.keys():
        bound["rewind"] = _bind_init(refs["rewind"], run, producers)
    if "dense" in refs.keys() - step.refs.keys():
        bound["dense"] = _bind_origin(refs["dense"], step.refs["of"], run, producers)
    return bound


def _bind_init(init: Ref, run: Run, producers: Callable[[str], Step | None]) -> Input:
    try:
        return _bind_one("rewind", init, Reference(("kept",)), run, producers, ())
    except InputMissing as error:
        raise no_initial_values(error.where) from None


def _bind_origin(origin: Ref, of: Ref, run: Run, producers: Callable[[str], Step | None]) -> Input:
    """The dense checkpoint that a network was made from."""
    found = _bind_one("dense", origin, Reference(("dense", "ticket", "task")), run, producers, ())
    if found.artifact.kind != "dense":
        raise no_origin(of, "evaluate.dense")
    return found


def _bind_one(
    role: str,
    ref: Ref,
    mark: Reference,
    run: Run,
    producers: Callable[[str], Step | None],
    units: tuple[Unit, ...],
    own: Manifest | None = None,
) -> Input:
    if ref.path is not None:
        artifact = _foreign(role, ref, own) if FOREIGN in mark.kinds else adopt(ref.path)
        _check_kind(role, str(ref), artifact, mark)
        return Input(role, str(ref), {artifact.name: artifact})
    producer = producers(ref.step)
    manifest = run.manifest(ref.step)
    folder = run.step_folder(ref.step)

    def default() -> str:
        if producer is not None:
            return producer.spec.default_output(producer.recipe.config)
        return default_output(manifest) if manifest is not None else ""

    artifacts: dict[str, Artifact] = {}
    for name in taken(ref, mark, units, default):
        artifact = _find(name, producer, manifest, ref)
        _check_kind(role, f"{ref.step}/{name}", artifact, mark)
        artifacts[name] = _absolute(artifact, folder)
    return Input(role, str(ref), artifacts, series=mark.series and not ref.output)


def _foreign(role: str, ref: Ref, own: Manifest | None) -> Artifact:
    """A file from elsewhere; where it is gone, what the step's own manifest recorded of it when it was read."""
    assert ref.path is not None
    if ref.path.is_file():
        return adopt(ref.path, foreign=True)
    recorded = own.inputs.get("files", {}).get(role) if own is not None else None
    if own is None or recorded is None or own.inputs.get("refs", {}).get(role) != str(ref):
        raise _Waiting(f"the file {ref.path}")
    return Artifact(name=ref.path.name, kind=FOREIGN, files={"values": FileRecord.model_validate(recorded)}, about={})


def default_output(manifest: Manifest) -> str:
    """The output that a finished step's bare name stands for, such as the last round's."""
    spec = _known_stage(manifest)
    return spec.default_output(spec.config.parse(manifest.config, where=manifest.step))


def _known_stage(manifest: Manifest) -> StageSpec:
    if manifest.stage not in STAGES:
        raise UsageError(
            f"'{manifest.step}' was made by the stage '{manifest.stage}', which this version does not have",
            where=manifest.step,
            hint=f"use ticketcli {manifest.code_version} or later",
        )
    return STAGES[manifest.stage]


def _find(name: str, producer: Step | None, manifest: Manifest | None, ref: Ref) -> Artifact:
    if producer is not None and any(name in unit.outputs for unit in producer.todo):
        raise _Waiting(ref.step)
    made_by = manifest.artifacts() if manifest else {}
    if producer is not None and manifest is not None:  # not of units that the present settings do not have
        made_by = {one.name: one for unit in producer.done for one in manifest.units[unit.name].outputs}
    artifact = made_by.get(name)
    if artifact is None:
        made = ", ".join(made_by)
        raise InputMissing(
            f"no '{name}' from step '{ref.step}'",
            where=str(ref),
            hint=f"it made {made}" if made else f"run the step '{ref.step}' first",
        )
    return artifact


def _check_kind(role: str, ref: str, artifact: Artifact, mark: Reference) -> None:
    if not fits(artifact.kind, mark):
        raise misfit(role, ref, artifact.kind, mark, role)


def _absolute(artifact: Artifact, folder: Path) -> Artifact:
    def absolute(record: FileRecord) -> FileRecord:
        return record.model_copy(update={"path": str(record.locate(folder))})

    return artifact.model_copy(update={"files": {role: absolute(file) for role, file in artifact.files.items()}})


def plan_recipe(recipe: Recipe, run: Run) -> list[Step]:
    """Plan every step, each after those that it refers to."""
    planned: dict[str, Step] = {}
    for step in recipe.steps:
        planned[step.name] = plan_step(step, run, planned.get)
    return list(planned.values())


def recorded_step(run: Run, name: str) -> RecipeStep | None:
    """The recipe step that a manifest's recorded config amounts to, or None where there is no manifest."""
    manifest = run.manifest(name)
    if manifest is None or manifest.stage not in STAGES:
        return None
    spec = STAGES[manifest.stage]
    config = spec.config.parse(manifest.config, where=name)
    return make_step(name, spec, config.resolved())


def recorded_recipe(run: Run) -> Recipe:
    """The recipe that the steps in a run folder amount to, whoever made them; without order."""
    steps = [step for name in run.steps() if (step := recorded_step(run, name)) is not None]
    return Recipe(tuple(steps), instances={step.group: (step,) for step in steps})


def make_step(name: str, spec: StageSpec, values: Mapping[str, object]) -> RecipeStep:
    """A step outside any recipe, as a stage command has it; references are steps of the run, or files."""
    from ticketcli.recipe.recipe import is_file_reference

    config = spec.config.parse(values, where=spec.name)
    refs: dict[str, Ref] = {}
    for role, mark in spec.config.references().items():
        text = getattr(config, role)
        if text and not mark.is_word(text):
            head, _, output = text.partition("/")
            refs[role] = Ref(path=Path(text).expanduser()) if is_file_reference(text) else Ref(head, output)
    return RecipeStep(name, name, spec.name, config, refs)


def find_by_kind(run: Run, kinds: tuple[str, ...], *, role: str, skip: str) -> str:
    """The one step of the run that makes an artifact of the first of these kinds that any step makes.

    Raises:
        InputMissing: none does; names the command that would.
        UsageError: several do, so that one has to be named.
    """
    for kind in kinds:
        found = []
        for name in run.steps():
            manifest = run.manifest(name)
            made = manifest.artifacts().values() if manifest and manifest.stage in STAGES else ()
            if name != skip and any(artifact.kind == kind for artifact in made):
                found.append(name)
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"several steps could be the {role}: {', '.join(found)}",
                where=str(run.root),
                hint=f"name one with --{role}",
            )
    maker = next((spec.name for spec in STAGES.values() if spec.kind == kinds[0]), "")
    raise InputMissing(
        f"no {kinds[0]} in this run",
        where=str(run.root),
        hint=f"make one with 'ticket {maker}', or name a file with --{role}",
    )
