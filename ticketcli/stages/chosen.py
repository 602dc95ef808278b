"""What a round leaves; and the saved state of a round that was finetuned and is choosing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ticketcli.stages import controlling, crediting, solving
from ticketcli.stages.pruned_network import PrunedNetwork
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import copy_of
from ticketcli.training.yields import State


@dataclass(frozen=True)
class Chosen:
    """What a round leaves: the mask; the network's values with those that stay adjusted, where the criterion does that;
    and what it has to report.
    """

    mask: Mask
    adjusted: Mapping[str, Tensor] | None = None
    report: Mapping[str, Any] = field(default_factory=dict)


def finetuned_state(network: PrunedNetwork, metrics: Mapping[str, Any]) -> State:
    """The network as it was finetuned, `model`, and what was measured of it: the base of a criterion's saved states."""
    return {
        "precision": network.config.precision, "model": copy_of(network.model), "metrics": dict(metrics),
        "iteration": network.n_steps,
    }  # fmt: skip


def is_choosing(state: State) -> bool:
    """Whether a criterion was at work when the state was saved: the network was finetuned then."""
    return any(one.STATE in state for one in (solving, controlling, crediting))
