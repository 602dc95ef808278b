"""What can be told of a step from the recipe alone, before anything is made: that it cannot run.

What it takes from others is looked at in `inputs.py`; names of architectures and image sets in their tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from ticketcli.data.table import known_set
from ticketcli.errors import TicketError, UsageError
from ticketcli.inputs import mistakes, origin
from ticketcli.models.table import check_architecture, check_hints, imported_arch, tap_names_of
from ticketcli.recipe.configs import Data, ImportConfig, PretrainConfig, TrainDecoderConfig
from ticketcli.recipe.recipe import Maker, RecipeStep


def check_step(step: RecipeStep, maker: Maker) -> Iterator[TicketError]:
    """All that is wrong with one step; `maker` gives the steps that it refers to."""
    where = f"steps.{step.group}"
    yield from mistakes(step, maker, where=where)
    for error in _wrong_names(step, maker):
        error.where = f"{where}.{error.where}"
        yield error


def _wrong_names(step: RecipeStep, maker: Maker) -> Iterator[UsageError]:
    config = step.config
    for field in type(config).model_fields:
        data = getattr(config, field)
        if isinstance(data, Data):
            try:
                known_set(data.name)
            except UsageError as error:
                error.where = f"{field}.name"
                yield error
    try:
        if isinstance(config, PretrainConfig):
            check_architecture(config.arch)
        elif isinstance(config, ImportConfig):
            imported_arch(config)
        elif isinstance(config, TrainDecoderConfig) and "encoder" in step.refs:
            check_hints(config.hints, _tap_names(step, maker) or config.hints)
    except UsageError as error:
        yield error


def _tap_names(step: RecipeStep, maker: Maker) -> tuple[str, ...] | None:
    """Those of the encoder that a step refers to, where the recipe tells which it is."""
    made = maker(origin(step.refs["encoder"], maker).step)
    with suppress(UsageError):  # of an unknown architecture its own step tells
        if made is not None and isinstance(made.config, PretrainConfig):
            return tap_names_of(made.config.arch)
        if made is not None and isinstance(made.config, ImportConfig):
            return tap_names_of(imported_arch(made.config))
    return None
