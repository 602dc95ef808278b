"""`for_each`: axes of labelled values, the steps that they make of one, and what these are called."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ticketcli.errors import TicketError, UsageError, collected, did_you_mean, raise_all

VARIABLE = re.compile(r"\$(\w+)")
LONGEST_NAME = 200  # characters of a step's name; file systems end at 255 bytes, and locks and files add to it
Label = str | int | float | bool | None
Variables = Mapping[str, Label]
Axis = Mapping[Label, Any]


def parse_axes(raw: object, where: str) -> dict[str, Axis]:
    """Axes by name, each label -> value. A list's values are their own labels; a mapping names its values.

    Raises:
        UsageError: no mapping; axes without values, with equal ones, or with a list or mapping that has no name.
    """
    if not isinstance(raw, dict):
        raise UsageError("for_each is a mapping from a name to a list", where=where, hint="{seed: [0, 1, 2]}")
    axes: dict[str, Axis] = {}
    errors: list[TicketError] = []
    for name, values in raw.items():
        with collected(errors):
            axes[str(name)] = _axis(str(name), values, f"{where}.{name}")
    raise_all(errors)
    return axes


def _axis(name: str, values: object, where: str) -> Axis:
    if not re.fullmatch(r"\w+", name):
        raise UsageError(f"'{name}' cannot be a variable's name", where=where, hint="letters, digits and _")
    if not isinstance(values, list | dict) or not values:
        raise UsageError(f"'{name}' needs a list of values", where=where, hint=f"{name}: [0, 1, 2]")
    if any(True for _ in variables_in(values)):
        raise UsageError(f"a value of '{name}' uses a variable", where=where, hint="use both where they are needed")
    if isinstance(values, dict):
        return dict(values)
    if any(isinstance(value, list | dict) for value in values):
        raise UsageError(
            f"a value of '{name}' is a list or a mapping, and has no name",
            where=where,
            hint=f"name the values: {name}: {{low: ..., high: ...}}",
        )
    axis = {value: value for value in values}  # 1, 1.0 and true are one key, as they are one folder to a reader
    if len(axis) != len(values):
        raise UsageError(f"'{name}' has a value twice", where=where, hint="leave one out; 1, 1.0 and true are one")
    return axis


def variables_in(value: Any) -> Iterator[str]:
    """The names of the variables that a value uses, at any depth."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from variables_in(inner)
    elif isinstance(value, str):
        yield from VARIABLE.findall(value)


def choose(axis: Mapping[Label, Any], labels: Sequence[Any], where: str) -> dict[Label, Any]:
    """Those values of a mapped axis that are named, in the order named.

    Raises:
        UsageError: a name that the axis does not have.
    """
    for label in labels:
        if isinstance(label, list | dict) or label not in axis:
            raise UsageError(f"no value '{label}'", where=where, hint=did_you_mean(str(label), map(str, axis)))
    return {label: axis[label] for label in labels}


def combinations(axes: Mapping[str, Axis]) -> Iterator[dict[str, Label]]:
    """Every choice of one label from each axis; the last axis turns fastest."""
    for labels in itertools.product(*axes.values()):
        yield dict(zip(axes, labels, strict=True))


def substitute(value: Any, values: Mapping[str, Any], where: str) -> Any:
    """`value` with every ``$name`` replaced; a string that is nothing else becomes the variable's value itself.

    Raises:
        UsageError: a variable that there is not.
    """
    if isinstance(value, dict):
        return {key: substitute(inner, values, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [substitute(inner, values, where) for inner in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    for name in VARIABLE.findall(value):
        if name not in values:
            hint = did_you_mean(name, values) or f"add it: for_each: {{{name}: [0, 1]}}"
            raise UsageError(f"no for_each variable '{name}'", where=where, hint=hint)
    whole = VARIABLE.fullmatch(value)
    if whole:
        return values[whole[1]]
    for name in VARIABLE.findall(value):
        if isinstance(values[name], list | dict):
            what = f"'${name}' is a list or a mapping, which fits into no text"
            raise UsageError(what, where=where, hint=f"let ${name} stand alone")
    return VARIABLE.sub(lambda match: str(values[match[1]]), value)


def step_name(group: str, variables: Variables) -> str:
    """`target@arm=ours-11,seed=0`: a folder name that tells what it holds."""
    if not variables:
        return group
    words = ",".join(f"{key}={label_word(value)}" for key, value in variables.items())
    return f"{group}@{words}"


def label_word(label: Label) -> str:
    """A value as step names write it: `ours/11` is ours-11."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "-", str(label))


def check_name(name: str, taken: Mapping[str, str], where: str) -> None:
    """Refuse a step name that is another's folder too. `taken` maps names without case to names.

    Raises:
        UsageError: the name is taken, also where only case differs (some file systems ignore it), or too long.
    """
    hint = "name the values: for_each: {axis: {first: ..., second: ...}}"
    if name.casefold() in taken:
        other = taken[name.casefold()]
        raise UsageError(f"two steps would share the folder '{name}'", where=where, hint=f"{hint}; taken by {other}")
    if len(name) > LONGEST_NAME:
        raise UsageError(f"the step name '{name[:40]}...' has {len(name)} characters", where=where, hint=hint)
