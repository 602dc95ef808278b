"""What the heavy side yields beside plain events: a moment that can be saved, and finished outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ticketcli.events import Event
from ticketcli.store.mask import Mask

State = dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """Between two steps: the shell may call `capture` here to save the state, and may stop here.

    What is captured stays as it is while training goes on, so it can be written meanwhile; `release` tells that it is
    no longer needed, and that its memory may serve the next. After the `last` of a training the model is measured and
    changed: what may be needed later has to be captured now.
    """

    capture: Callable[[], State]
    last: bool = False
    release: Callable[[State], None] = lambda state: None


@dataclass(frozen=True)
class Loaded:
    """An input in memory: its values by parameter name, its mask, and what it is about.

    `sizes` are the bytes of its files by role; `heads` those of a bundle, which share the values.
    """

    ref: str
    kind: str
    about: Mapping[str, Any]
    values: Mapping[str, Tensor] = field(default_factory=dict)
    mask: Mask | None = None
    identity: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    heads: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """A finished output. `values` are tensors to write, or the input (by role) whose file already holds them.

    `mask_of` names an earlier output of this step whose mask file serves. `files` are further files by name, such as
    pictures; they are written beside, and recorded with it.
    """

    name: str
    kind: str
    stem: str
    about: Mapping[str, Any]
    values: Mapping[str, Tensor] | str
    mask: Mask | None = None
    mask_of: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Produced:
    """A unit is finished: its outputs, and what was measured of them."""

    unit: str
    outputs: tuple[Output, ...]
    metrics: Mapping[str, Any]


Yield = Event | Snapshot | Produced
