"""What a step takes from other steps, and whether that can be: as far as the recipe tells, before anything is made.

Which stage makes something decides its kind, and that step's settings how much of it there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from ticketcli.errors import InputMissing, TicketError, UsageError
from ticketcli.recipe.config import Reference
from ticketcli.recipe.recipe import Maker, RecipeStep, Ref
from ticketcli.stage import STAGES, Unit

INITIAL = "init"  # what is rewound to by `rewind: init`
_BACK = {"transfer": "ticket", "rewind": "ticket", "compact": "ticket", "prune": "encoder"}
_INSTEAD = {
    "compact": "a compact network has no mask; name the ticket that it was made of",
    "ticket": "name the dense network that the ticket was made of",
}


def mistakes(step: RecipeStep, maker: Maker, *, where: str) -> Iterator[TicketError]:
    """What a step needs and does not name, or names and will not get.

    Args:
        step: the step.
        maker: gives the steps that it refers to; of those that it does not know nothing is said.
        where: the step's place, for errors.
    """
    spec = STAGES[step.stage]
    for role, mark in spec.config.references().items():
        if role in step.refs:
            yield from _misfits(step, role, mark, maker, where)
        elif role in spec.required(step.config) and not mark.words and not mark.series:
            yield UsageError(f"'{role}' is missing", where=f"{where}.{role}", hint=f"name a {' or '.join(mark.kinds)}")
    if rewinds_to_initial(step):
        made = maker(step.refs["encoder"].step)
        if made is not None and INITIAL not in STAGES[made.stage].outputs(made.config):
            yield no_initial_values(f"{where}.rewind")
    if compares_with_origin(step):
        ref = origin(step.refs["of"], maker)
        made = maker(ref.step)
        if made is not None and _kind(ref, made) not in ("dense", ""):
            yield no_origin(step.refs["of"], f"{where}.dense")


def _misfits(step: RecipeStep, role: str, mark: Reference, maker: Maker, where: str) -> Iterator[TicketError]:
    ref = step.refs[role]
    made = maker(ref.step)
    if made is None:
        return
    known = STAGES[made.stage].outputs(made.config)
    wanted = taken(ref, mark, STAGES[step.stage].units(step.config), default_of(made))
    lacking = next((name for name in wanted if name not in known), None)
    if lacking is not None:
        what = f"'{made.group}' makes no '{lacking}'"
        yield InputMissing(what, where=f"{where}.{role}", hint="it makes " + ", ".join(known))
        return
    kinds = {known[name] for name in wanted if known[name]}
    named = str(replace(ref, step=made.group))
    yield from (misfit(role, named, kind, mark, f"{where}.{role}") for kind in kinds if not fits(kind, mark))


def taken(ref: Ref, mark: Reference, units: Sequence[Unit], default: Callable[[], str]) -> tuple[str, ...]:
    """The outputs of a step that `units` of another take from it: one, or of a series one a unit.

    `default` says which it is where none is named.
    """
    if mark.series and not ref.output:
        return tuple(unit.series for unit in units if unit.series)
    return (ref.output or default(),)


def default_of(maker: RecipeStep) -> Callable[[], str]:
    """The output that a step's bare name stands for."""
    return partial(STAGES[maker.stage].default_output, maker.config)


def fits(kind: str, mark: Reference) -> bool:
    """Whether an artifact of a kind will do."""
    return kind in (*mark.kinds, *mark.also)


def misfit(role: str, ref: str, kind: str, mark: Reference, where: str) -> UsageError:
    """What is said of an artifact that will not do."""
    what = f"{role} needs a {' or '.join(mark.kinds)}, '{ref}' is a {kind}"
    return UsageError(what, where=where, hint=_INSTEAD.get(kind, f"name a {mark.kinds[0]} checkpoint"))


def all_refs(step: RecipeStep, maker: Maker) -> dict[str, Ref]:
    """What a step takes in, by role: what it names, and what its settings take without a name."""
    refs = dict(step.refs)
    if rewinds_to_initial(step):
        encoder = refs["encoder"]
        beside = encoder.path and encoder.path.with_name(f"{INITIAL}.safetensors")
        refs["rewind"] = Ref(path=beside) if beside else Ref(encoder.step, INITIAL)
    if compares_with_origin(step):
        refs["dense"] = origin(refs["of"], maker)
    return refs


def rewinds_to_initial(step: RecipeStep) -> bool:
    """Whether it takes the first draw of its encoder's weights, too."""
    return getattr(step.config, "rewind", None) == "init" and "encoder" in step.refs


def no_initial_values(where: str) -> InputMissing:
    """What is said where they were not kept."""
    hint = "pretrain with keep: [0ep]; or draw some: pretrain that architecture for 0it, and rewind to that step"
    return InputMissing("rewind: init needs the initial values, which were not kept", where=where, hint=hint)


def compares_with_origin(step: RecipeStep) -> bool:
    """Whether it takes the dense checkpoint that a network was made from, which it does not name."""
    compares = getattr(step.config, "features", False) or getattr(step.config, "latency", False)
    return compares and "of" in step.refs and "dense" not in step.refs


def origin(ref: Ref, maker: Maker) -> Ref:
    """What a network was made from: back through what transferred, rewound, compacted and pruned it."""
    while ref.path is None:
        made = maker(ref.step)
        if made is None or _BACK.get(made.stage) not in made.refs:
            break
        ref = made.refs[_BACK[made.stage]]
    return ref


def no_origin(of: Ref, where: str) -> UsageError:
    """What is said where that is no dense checkpoint."""
    return UsageError(f"nothing says which dense network '{of}' was made from", where=where, hint="name it with dense:")


def _kind(ref: Ref, maker: RecipeStep) -> str:
    """Of what a reference names; "" where nobody knows, or it is not made."""
    return STAGES[maker.stage].outputs(maker.config).get(ref.output or default_of(maker)(), "")
