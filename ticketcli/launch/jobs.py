"""A recipe as jobs: a job a unit of work, equal ones as an array, each with the tasks whose results it takes.

Pruning rounds are a chain: a job a round, each after the one before. What takes the ticket of a round waits for that
round alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ticketcli.canon import digest
from ticketcli.inputs import default_of, taken
from ticketcli.recipe.for_each import step_name
from ticketcli.recipe.recipe import Recipe, RecipeStep, Ref
from ticketcli.stage import STAGES, Unit


@dataclass(frozen=True, order=True)
class Place:
    """A task: its job's name, and its index there."""

    job: str
    index: int


@dataclass(frozen=True)
class Task:
    """One unit of one step: what a process is started for.

    Attributes:
        step: the step's name.
        unit: the unit's name.
        only: what `ticket run --only` is told: the step, or STEP/OUTPUT where it has several units.
        identity: decides its result; tells a queued task from one of a changed recipe.
        needs: the tasks that have to be finished before.
    """

    step: str
    unit: str
    only: str
    identity: str
    needs: tuple[Place, ...]


@dataclass(frozen=True)
class Job:
    """A script: one task, or an array of them by index."""

    name: str
    stage: str
    tasks: Mapping[int, Task]

    @property
    def is_array(self) -> bool:
        """Whether it is submitted as an array."""
        return len(self.tasks) > 1


@dataclass(frozen=True)
class Queued:
    """Where a task is queued: the number of its job, and whether that is an array's."""

    id: str
    is_array: bool


def jobs_of(recipe: Recipe) -> tuple[Job, ...]:
    """All jobs of a recipe, each after those that it needs. What steps take is made by others: `mistakes` has none."""
    return tuple(_Assembly(recipe).jobs())


class _Assembly:
    """Goes through the steps in the recipe's order, and remembers who makes what."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.makers: dict[tuple[str, str], tuple[int, Place]] = {}  # (step, output) -> position in its chain, place
        self.behind: dict[Place, set[Place]] = {}  # all that a task waits for, near and far
        self.identities: dict[tuple[str, str], str] = {}  # (step, output) -> what decides it
        self.arrays: dict[str, bool] = {}
        self.names: set[str] = set()

    def jobs(self) -> Iterator[Job]:
        for group, instances in self.recipe.instances.items():
            steps = [step for step in instances if step.name not in self.recipe.aliases]
            lanes: dict[tuple[tuple[str, ...], int], dict[str, tuple[Place, ...]]] = {}
            like: Counter[tuple[tuple[str, ...], int]] = Counter()
            for step in steps:
                needs = self._needs(step)
                upstream, nth = tuple(sorted({need.job for need in needs})), 0
                paired = {need.index for need in needs if self.arrays[need.job]}
                if len(paired) == 1:  # the second repetition of each replicate makes a second array, and so on
                    like[upstream, min(paired)] += 1
                    nth = like[upstream, min(paired)]
                lanes.setdefault((upstream, nth), {})[step.name] = needs
            for lane in lanes.values():
                members = [step for step in steps if step.name in lane]
                yield from self._lane(self._name(group, members, steps), members, lane)

    def _lane(self, name: str, members: Sequence[RecipeStep], needs: Mapping[str, tuple[Place, ...]]) -> Iterator[Job]:
        """The jobs of steps that wait for the same jobs, unit after unit."""
        spec = STAGES[members[0].stage]
        units = {step.name: spec.units(step.config) for step in members}
        index = _indices([needs[step.name] for step in members], self.arrays)
        before = dict(needs)
        for position in range(max(map(len, units.values()))):
            made: dict[str, dict[int, Task]] = {}  # by the unit's name: chains of unlike lengths end differently
            for step, at in zip(members, index, strict=True):
                if position >= len(units[step.name]):
                    continue
                unit = units[step.name][position]
                job = f"{name}-{unit.name}" if len(units[step.name]) > 1 else name
                place = Place(job, at)
                only = f"{step.name}/{unit.outputs[0]}" if len(units[step.name]) > 1 else step.name
                task = Task(step.name, unit.name, only, self._identity(step, unit), before[step.name])
                made.setdefault(job, {})[at] = task
                self.makers |= {(step.name, output): (position, place) for output in unit.outputs}
                self.identities |= {(step.name, output): task.identity for output in unit.outputs}
                self.behind[place] = {*task.needs}.union(*(self.behind[need] for need in task.needs))
                before[step.name] = (place,)
            yield from (Job(job, spec.name, dict(sorted(tasks.items()))) for job, tasks in made.items())
            self.arrays |= {job: len(tasks) > 1 for job, tasks in made.items()}

    def _name(self, group: str, members: Sequence[RecipeStep], steps: Sequence[RecipeStep]) -> str:
        """The step's name and the variables by which these repetitions differ from its others."""

        def is_one(key: str, among: Sequence[RecipeStep]) -> bool:
            return len({step.variables.get(key) for step in among}) == 1

        keys = [key for key in members[0].variables if is_one(key, members) and not is_one(key, steps)]
        name = plain = step_name(group, {key: members[0].variables[key] for key in keys})
        number = 1
        while name in self.names:
            number += 1
            name = f"{plain}-{number}"
        self.names.add(name)
        return name

    def _needs(self, step: RecipeStep) -> tuple[Place, ...]:
        """The last task of each step that this one takes something of, without those that others wait for anyway."""
        last: dict[str, tuple[int, Place]] = {}
        for role, ref in step.refs.items():
            for output in self._outputs(step, role, ref, STAGES[step.stage].units(step.config)):
                found = self.makers[ref.step, output]
                last[ref.step] = max(last.get(ref.step, found), found)
        places = {place for _, place in last.values()}
        far = set().union(*(self.behind[place] for place in places))
        return tuple(sorted(places - far))

    def _outputs(self, step: RecipeStep, role: str, ref: Ref, units: Sequence[Unit]) -> tuple[str, ...]:
        """What these units of a step take from a reference."""
        if ref.path is not None:
            return ()
        mark = STAGES[step.stage].config.references()[role]
        return taken(ref, mark, units, default_of(self.recipe[ref.step]))

    def _identity(self, step: RecipeStep, unit: Unit) -> str:
        inputs = {
            role: [str(ref.path or ref.output)]
            + [self.identities[ref.step, output] for output in self._outputs(step, role, ref, [unit])]
            for role, ref in step.refs.items()
        }
        return digest([step.stage, step.config.identity(without=unit.ignores), inputs, unit.name])


def _indices(needs: Sequence[Sequence[Place]], arrays: Mapping[str, bool]) -> list[int]:
    """Each task's index: that of the array task which it needs, where they pair off; else its position.

    SLURM pairs tasks of equal index (aftercorr): so a replicate goes on as soon as its own input is there.
    """
    paired = [{need.index for need in one if arrays[need.job]} for one in needs]
    if all(len(found) == 1 for found in paired) and len({min(found) for found in paired}) == len(paired):
        return [min(found) for found in paired]
    return list(range(len(needs)))


def submit_in_order(
    jobs: Sequence[Job],
    is_open: Callable[[Task], bool],
    queued: dict[Place, Queued],
    submit: Callable[[Job, tuple[int, ...], str], str],
) -> None:
    """Call `submit(job, indices, dependency)`, which returns a number, for all open tasks, in order.

    Tasks of one job that wait for different things are submitted apart. `queued` are the tasks that wait or run
    already; the new ones are added. What is needed and not in it is taken to be finished.
    """
    for job in jobs:
        alike: dict[str, list[int]] = {}
        for index, task in job.tasks.items():
            if is_open(task):
                terms = [_term(job, index, need, queued[need]) for need in task.needs if need in queued]
                alike.setdefault(",".join(dict.fromkeys(terms)), []).append(index)
        for dependency, indices in alike.items():
            number = submit(job, tuple(indices), dependency)
            queued |= {Place(job.name, index): Queued(number, job.is_array) for index in indices}


def _term(job: Job, index: int, need: Place, there: Queued) -> str:
    if not there.is_array:
        return f"afterok:{there.id}"
    if job.is_array and need.index == index:
        return f"aftercorr:{there.id}"
    return f"afterok:{there.id}_{need.index}"


def index_range(indices: Sequence[int]) -> str:
    """What sbatch takes for `--array`: ``0-2,5``."""
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
