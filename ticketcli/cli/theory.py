"""`ticket theory`: the paper's two theorems and one of GUNN as experiments, with controls for what is not shown."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import words
from ticketcli.errors import UsageError, did_you_mean
from ticketcli.events import Progress, listeners
from ticketcli.units import human_seconds

SizesT = TypeVar("SizesT")
FoundT = TypeVar("FoundT")
_RULES = ("kernel-sum", "random", "l2", "1x1")


def command(_name: str) -> Any:
    """The group of commands, for the lazy group."""
    return process.command_group(_root, lcnn=lcnn, orcnn=orcnn, gunn=gunn)


def _root() -> None:
    """Run a theorem as an experiment: measured, predicted, bounded, and with controls."""


SeedsOption = Annotated[int, typer.Option("--seeds", metavar="N", help="Networks, each with data of its own.")]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="The first of the seeds.")]
LengthOption = Annotated[int, typer.Option("--length", "-D", metavar="N", help="Positions, on a circle.")]
ReachOption = Annotated[int, typer.Option("--s", metavar="N", help="A kernel has 2 s + 1 taps.")]
SvgOption = Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Also draw it.")]


def lcnn(
    p: Annotated[
        str, typer.Option("--p", metavar="P,P,...", help="Shares of kernels to prune.")
    ] = "0.01,0.02,0.05,0.08,0.11",
    width: Annotated[int, typer.Option("--width", metavar="N", help="Channels of every layer.")] = 256,
    layers: Annotated[int, typer.Option("--layers", metavar="N", help="Convolutions.")] = 3,
    s: ReachOption = 1,
    length: LengthOption = 32,
    seeds: SeedsOption = 6,
    seed: SeedOption = 0,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--rule", help="Only this rule (again for more): " + ", ".join(_RULES) + ".", autocompletion=words(*_RULES)
        ),
    ] = None,
    svg: SvgOption = None,
    as_json: process.JsonOption = False,
    quiet: process.QuietOption = False,
) -> None:
    """Theorem 3.1: pruning kernels with small sums spares the pooled feature and spoils the map.

    The controls prune as many kernels at random, or those of the smallest norms; and kernels of one tap, which are
    their own sums. With them both suffer alike. --s 0 makes the theorem's own rule such a control.
    """
    rules = tuple(dict.fromkeys(_rule(one) for one in rule or _RULES))
    process.share_the_machine()
    from ticketcli.theory.drawing import draw_lcnn
    from ticketcli.theory.lcnn import Lcnn, measure, seconds_of
    from ticketcli.theory.show import lcnn_json, lcnn_text

    sizes = Lcnn(width, layers, s, length, _shares(p), seeds, seed, rules)  # type: ignore[arg-type]
    _experiment(
        "lcnn", sizes, measure, seconds_of, draw_lcnn, lcnn_json, lcnn_text, svg=svg, as_json=as_json, quiet=quiet
    )


def orcnn(
    p: Annotated[
        str, typer.Option("--p", metavar="P,P,...", help="Shares of filters to prune.")
    ] = "0.1,0.3,0.5,0.7,0.9",
    width: Annotated[int, typer.Option("--width", metavar="N", help="Filters; the theorem is about very many.")] = 4000,
    channels: Annotated[int, typer.Option("--channels", metavar="N", help="Of the input.")] = 3,
    s: ReachOption = 1,
    length: LengthOption = 8,
    samples: Annotated[int, typer.Option("--samples", metavar="N", help="Labelled inputs.")] = 5,
    seeds: SeedsOption = 6,
    seed: SeedOption = 0,
    svg: SvgOption = None,
    as_json: process.JsonOption = False,
    quiet: process.QuietOption = False,
) -> None:
    """Theorem 3.2: a network of fewer filters, reset and trained again, stays p / 2 away from the dense one.

    The controls: the same filters before any training; the distance once both have equal norms; and other rotations.
    They say that the bound counts filters, and that training has no part in it.
    """
    process.share_the_machine()
    from ticketcli.theory.drawing import draw_orcnn
    from ticketcli.theory.orcnn import Orcnn, measure, seconds_of
    from ticketcli.theory.show import orcnn_json, orcnn_text

    sizes = Orcnn(width, channels, s, length, samples, _shares(p), seeds, seed)
    _experiment(
        "orcnn", sizes, measure, seconds_of, draw_orcnn, orcnn_json, orcnn_text, svg=svg, as_json=as_json, quiet=quiet
    )


def gunn(
    neurons: Annotated[int, typer.Option("--neurons", "-n", metavar="N", help="Of the layer.")] = 6,
    outputs: Annotated[int, typer.Option("--outputs", metavar="N", help="That are read from it.")] = 3,
    samples: Annotated[int, typer.Option("--samples", metavar="N", help="Labelled inputs, all in each step.")] = 32,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Of gradient descent.")] = 100,
    lr: Annotated[float, typer.Option("--lr", metavar="RATE", help="Its rate.")] = 0.02,
    seeds: SeedsOption = 6,
    seed: SeedOption = 0,
    svg: SvgOption = None,
    as_json: process.JsonOption = False,
    quiet: process.QuietOption = False,
) -> None:
    """Overlap singularities: tied neurons part where they are updated one after the other, and not where at once.

    The controls: the same two neurons in one segment of a layer that is updated gradually, and in a layer that is
    updated as a whole. Both stay tied for good.
    """
    process.share_the_machine()
    from ticketcli.theory.drawing_gunn import draw_gunn
    from ticketcli.theory.gunn import TiedNeurons, measure, seconds_of
    from ticketcli.theory.show_gunn import gunn_json, gunn_text

    sizes = TiedNeurons(neurons, outputs, samples, steps, lr, seeds, seed)
    _experiment(
        "gunn", sizes, measure, seconds_of, draw_gunn, gunn_json, gunn_text, svg=svg, as_json=as_json, quiet=quiet
    )


def _experiment(
    name: str,
    sizes: SizesT,
    measure: Callable[[SizesT], Generator[Progress, None, FoundT]],
    seconds_of: Callable[[SizesT], float],
    draw: Callable[[Path, SizesT, FoundT], None],
    values: Callable[[SizesT, FoundT], dict[str, Any]],
    text: Callable[[SizesT, FoundT], str],
    *,
    svg: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure; draw what was found where a file is named, and print it as JSON or as text."""
    from ticketcli.theory.drawing import require_drawing

    if svg is not None:
        require_drawing(svg)
    found = _heard(f"theory {name}", measure(sizes), seconds_of(sizes), quiet=quiet)
    if svg is not None:
        draw(svg, sizes, found)
    print(json.dumps(values(sizes, found)) if as_json else text(sizes, found))


def _rule(text: str) -> str:
    if text not in _RULES:
        raise UsageError(f"no rule '{text}'", where="--rule", hint=did_you_mean(text, _RULES))
    return text


def _shares(text: str) -> tuple[float, ...]:
    """``0.02,0.05`` as numbers, with or without brackets."""
    parts = [part for part in re.split(r"[,\s]+", text.strip().strip("[]")) if part]
    try:
        return tuple(float(part) for part in parts)
    except ValueError:
        raise UsageError(f"'{text}' is no list of numbers", where="--p", hint="--p 0.02,0.05") from None


def _heard(name: str, work: Generator[Progress, None, FoundT], seconds: float, *, quiet: bool) -> FoundT:
    """Do the work, having said how long it will take and saying how far it is."""
    if not quiet:
        print(f"{name}: about {human_seconds(seconds)} here", file=sys.stderr, flush=True)
    told = listeners(name, quiet=quiet)
    try:
        while True:
            event = next(work)
            for listener in told:
                listener.on(event)
    except StopIteration as end:
        found: FoundT = end.value
        return found
    finally:
        for listener in told:
            listener.close()
