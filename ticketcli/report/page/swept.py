"""Arms that are alike but for one setting: how much falls, which error is tolerated, or how long is healed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ticketcli.recipe.recipe import Ref
from ticketcli.report.page.subject import Arm, Subject

Kind = Literal["share", "epsilon", "heal"]
_SETTINGS: Mapping[Kind, frozenset[str]] = {
    "share": frozenset({"to_sparsity", "sparsities"}),
    "epsilon": frozenset({"epsilon"}),
    "heal": frozenset({"heal"}),
}


@dataclass(frozen=True)
class Sweep:
    """One-shot prunings that differ in nothing but one setting and the seed, so that they are one curve.

    Attributes:
        name: in words for people.
        kind: which setting that is.
        arms: in the recipe's order.
        number: its place among those of its kind, which decides how it looks.
    """

    name: str
    kind: Kind
    arms: tuple[Arm, ...]
    number: int

    @property
    def is_control(self) -> bool:
        """Whether weights fall by chance."""
        return self.arms[0].config.criterion == "random"

    @property
    def encoders(self) -> frozenset[Ref]:
        """What was pruned: a dense network for each seed."""
        return frozenset(step.refs["encoder"] for arm in self.arms for step in arm.steps.values())


def sweeps_of(subject: Subject) -> tuple[Sweep, ...]:
    """The sweeps of a run; an arm is in one at most."""
    found: list[Sweep] = []
    taken: set[int] = set()
    for name, arms in _candidates(subject):
        free = [arm for arm in arms if arm.number not in taken]
        kind = _kind(free)
        if kind is not None:
            number = sum(one.kind == kind for one in found)
            found.append(Sweep(name, kind, tuple(free), number))
            taken |= {arm.number for arm in free}
    return tuple(found)


def in_sweeps(subject: Subject) -> frozenset[int]:
    """The numbers of the arms that are points of a curve."""
    return frozenset(arm.number for sweep in sweeps_of(subject) for arm in sweep.arms)


def _candidates(subject: Subject) -> Iterator[tuple[str, list[Arm]]]:
    """Arms of a step of the recipe that have all labels in common but one variable's, and what to call them."""
    found: dict[tuple[object, ...], tuple[str, list[Arm]]] = {}
    for arm in subject.arms:
        step = next(iter(arm.steps.values()))
        if arm.config.schedule != "one-shot":
            continue
        own = {name: label for name, label in step.variables.items() if name not in subject.over}
        for name in own:
            others = {other: label for other, label in own.items() if other != name}
            words = [step.group, *map(str, others.values())]
            key = (step.group, name, *others.items())
            found.setdefault(key, (", ".join(subject.labels.get(one, one) for one in words), []))[1].append(arm)
    yield from found.values()


def _kind(arms: Sequence[Arm]) -> Kind | None:
    """The setting that tells these arms apart; None where it is another, or more than one."""
    common = [replicate for replicate in arms[0].steps if all(replicate in arm.steps for arm in arms)] if arms else []
    if len(arms) < 2 or not common:
        return None
    settings = [arm.steps[common[0]].config.model_dump() for arm in arms]
    differing = {name for name in settings[0] if any(one[name] != settings[0][name] for one in settings)}
    return next((kind for kind, names in _SETTINGS.items() if differing and differing <= names), None)
