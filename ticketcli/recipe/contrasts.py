"""`report.contrasts:`: what a recipe asks of its results, stated before there are any."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ticketcli.errors import UsageError, did_you_mean
from ticketcli.recipe.config import Config, Names
from ticketcli.recipe.for_each import Variables
from ticketcli.recipe.tables import METRICS, REPLICATE, OneOrMore

MASKS = "mask.distance"  # the metric of two masks: 1 less what lives in both over what lives in either
_BETWEEN = re.compile(r"\s+~\s+")
Role = Literal["primary", "secondary", "gate", "descriptive"]


def _cells(value: object) -> object:
    parts = value if isinstance(value, list) else [value]
    return tuple(str(part) if isinstance(part, int | float) else part for part in parts)


Cells = Annotated[Names, BeforeValidator(_cells)]


class ContrastConfig(Config):
    """A linear combination of results, one value for each replicate, and what is asked of its mean.

    A cell is a row of `of`: of transfers and evaluations the value of their variable (`ours/7`), of several variables
    all of them (`ours,7`); of prunings the step and its round (`ours/7`). `*` stands for anything. The cells of
    `plus` are averaged, and so are those of `less`.
    """

    what: str = Field("", description="the question in words")
    role: Role = Field(
        "descriptive",
        description="primary: tested on its own; secondary: corrected for all secondary ones; gate: has to be passed "
        "by those that need it; descriptive: shown",
    )
    of: OneOrMore = Field((), description="the step whose results are compared, or the prunings")
    metric: str = Field(
        "", description=f"what is compared, dotted as in the manifest; {MASKS}: of pairs such as 'ours/7 ~ plain/7'"
    )
    plus: Cells = Field((), description="the cells on whose mean the question is")
    less: Cells = Field((), description="the cells whose mean is subtracted")
    difference: Cells = Field((), description="instead of cells: two contrasts, the first less the second")
    per: Cells = Field(
        (),
        description="count in units of this contrast's mean, so that different measures compare; of a difference two, "
        "one for each side",
    )
    over: OneOrMore = Field((REPLICATE,), description="the variables that make the replicates, paired by their values")
    margin: float | None = Field(
        None, gt=0, description="differences within this are equivalent; with margin_of a share of that contrast's mean"
    )
    margin_of: str = Field("", description="the contrast that the margin is a share of")
    spreads: float | None = Field(
        None, gt=0, description="gates: the mean has to exceed so many standard deviations; absent: its interval, zero"
    )
    needs: Cells = Field((), description="gates without which there is no verdict")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.difference:
            if len(self.difference) != 2 or self.of or self.metric or self.plus or self.less:
                raise ValueError("difference names two contrasts, and stands without of, metric, plus and less")
        elif not (self.of and self.metric and self.plus and self.less):
            raise ValueError("a contrast has of, metric, plus and less; or difference")
        if len(self.per) not in (0, 2 if self.difference else 1):
            raise ValueError("per names one contrast, of a difference two")
        if self.margin_of and self.margin is None:
            raise ValueError("margin_of is for a margin; add margin: 0.1 for a tenth of it")
        if self.spreads is not None and self.role != "gate":
            raise ValueError("spreads are for role: gate")
        if self.role == "gate" and self.needs:
            raise ValueError("a gate needs no gates")
        return self

    @property
    def refers_to(self) -> tuple[str, ...]:
        """The other contrasts that its value depends on."""
        return (*self.difference, *self.per)


def parse_contrasts(raw: object) -> dict[str, ContrastConfig]:
    """Contrasts by name, from what stands under `report.contrasts`.

    Raises:
        UsageErrors: everything that is wrong with them.
    """
    if not isinstance(raw, dict) or not raw:
        raise UsageError("contrasts is a mapping", where="report.contrasts", hint="{NAME: {of: STEP, ...}}")
    return ContrastConfig.parse_each(raw, where="report.contrasts", example="{of: STEP, plus: ours/7, less: imp/7}")


def parse_replicates(raw: object) -> int:
    """How many replicates the contrasts were planned with, from `report.replicates`; 0 where nobody said.

    Raises:
        UsageError: no number of replicates.
    """
    if raw is not None and (not isinstance(raw, int) or isinstance(raw, bool) or raw < 1):
        raise UsageError(f"replicates is {raw!r}", where="report.replicates", hint="how many there will be, such as 8")
    return raw or 0


def check_contrasts(
    contrasts: Mapping[str, ContrastConfig],
    stages: Mapping[str, str],
    instances: Mapping[str, Sequence[Variables]],
    *,
    as_written: bool,
) -> Iterator[UsageError]:
    """What names no step, no cell, or no contrast.

    Args:
        contrasts: by name.
        stages: step -> its stage, "" where there is no such stage.
        instances: step -> the variables of each of its repetitions, without the steps of which nobody knows them.
        as_written: nothing was overridden; else cells that are gone are no mistake.
    """
    for name, config in contrasts.items():
        where = f"report.contrasts.{name}"
        yield from _wrong_names(name, config, contrasts, where)
        unknown = [step for step in config.of if step not in stages]
        for step in unknown:
            yield UsageError(f"no step '{step}'", where=f"{where}.of", hint=did_you_mean(step, stages))
        kinds = {stages.get(step, "") for step in config.of}
        if "" in kinds:
            continue
        if kinds and not (kinds == {"prune"} or (len(config.of) == 1 and kinds <= set(METRICS))):
            what = "of is one step that transfers or evaluates, or several that prune"
            yield UsageError(what, where=f"{where}.of", hint="compare two contrasts with difference:")
        elif config.metric == MASKS:
            yield from _wrong_pairs(config, where, kinds)
        if as_written and all(step in instances for step in config.of):
            yield from _wrong_cells(config, where, stages, instances)


def _wrong_names(
    name: str, config: ContrastConfig, contrasts: Mapping[str, ContrastConfig], where: str
) -> Iterator[UsageError]:
    for other in (*config.refers_to, *config.needs, *((config.margin_of,) if config.margin_of else ())):
        if other not in contrasts:
            yield UsageError(f"no contrast '{other}'", where=where, hint=did_you_mean(other, contrasts))
            continue
        if other in config.refers_to and (other == name or contrasts[other].refers_to):
            yield UsageError(f"'{other}' refers to another contrast itself", where=where, hint="one level is enough")
        if other in config.needs and contrasts[other].role != "gate":
            yield UsageError(f"'{other}' is no gate", where=f"{where}.needs", hint="role: gate")


def _wrong_pairs(config: ContrastConfig, where: str, kinds: set[str]) -> Iterator[UsageError]:
    if kinds != {"prune"}:
        yield UsageError(f"{MASKS} is of steps that prune", where=f"{where}.of", hint="name the step that prunes")
    for cell in (*config.plus, *config.less):
        if len(between(cell)) != 2:
            yield UsageError(f"'{cell}' is no pair of masks", where=where, hint="write 'ours/7 ~ plain/7'")


def _wrong_cells(
    config: ContrastConfig, where: str, stages: Mapping[str, str], instances: Mapping[str, Sequence[Variables]]
) -> Iterator[UsageError]:
    known = [name for step in config.of for one in instances[step] for name in _possible(step, one, config)]
    for cell in (*config.plus, *config.less):
        for part in between(cell):
            if not any(fnmatchcase(possible, _open(part, stages[config.of[0]])) for possible in known):
                yield UsageError(f"no cell '{part}'", where=where, hint=did_you_mean(part, known))


def between(cell: str) -> list[str]:
    """The two cells of a pair of masks; else the cell itself."""
    return _BETWEEN.split(cell.strip())


def label_of(step: str, variables: Variables, over: Sequence[str], *, prunes: bool) -> str:
    """What a repetition of a step is called among the cells, without its round."""
    labels = ",".join(str(label) for name, label in variables.items() if name not in over)
    if prunes:
        return f"{step}@{labels}" if labels else step
    return labels or step


def _possible(step: str, variables: Variables, config: ContrastConfig) -> list[str]:
    """The cells of a repetition, of prunings with any of the rounds: how many there are is found when they are read."""
    return [label_of(step, variables, config.over, prunes=prunes) for prunes in (False, True)]


def _open(part: str, stage: str) -> str:
    """A pattern for the cell without its round."""
    return part.rpartition("/")[0] if stage == "prune" else part


def expanded(cells: Sequence[str], known: Sequence[str]) -> list[str]:
    """The cells that patterns stand for, in the order known; of a pair of masks those of the same round.

    A pattern that fits nothing stays as it is, so that what is missing has a name.
    """
    found: dict[str, None] = {}
    for cell in cells:
        sides = [[one for one in known if fnmatchcase(one, part)] or [part] for part in between(cell)]
        several = [" ~ ".join(pair) for pair in product(*sides) if len({one.rpartition("/")[2] for one in pair}) == 1]
        found |= dict.fromkeys(several or [cell])
    return list(found)
