"""How many gates are open, and how far the open gates of two networks are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ticketcli.errors import MismatchError
from ticketcli.explain.search import Feedback

ALL = "all"  # the entry of all gates together


@dataclass(frozen=True)
class GateStatistics:
    """Of one network, over all images.

    Attributes:
        open_share: gate -> mean over the images of the share of units with x > 0 that are open, in [0, 1].
        n_gates: gate -> gates of an image.
        score_before, score_after: mean of the target before the first sweep and after the last.
        converged: share of the images whose gates stand still, in [0, 1].
        n_images: how many.
    """

    open_share: dict[str, float]
    n_gates: dict[str, int]
    score_before: float
    score_after: float
    converged: float
    n_images: int


def gate_statistics(batches: Sequence[Feedback]) -> GateStatistics:
    """Summed up over batches of one network and one mode.

    Raises:
        MismatchError: the batches have other gates, or there is none.
    """
    if not batches or any(one.gates.keys() != batches[0].gates.keys() for one in batches):
        raise MismatchError("statistics are of batches with the same gates, one at least", where="gates")
    shares = {name: torch.cat([one.open_share[name] for one in batches]) for name in batches[0].gates}
    first, last = (torch.cat([one.scores[:, place] for one in batches]) for place in (0, -1))
    return GateStatistics(
        {name: float(share.double().mean()) for name, share in shares.items()},
        {name: one[0].numel() for name, one in batches[0].gates.items()},
        float(first.double().mean()),
        float(last.double().mean()),
        float(torch.cat([one.converged for one in batches]).double().mean()),
        len(first),
    )


def gate_overlap(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Open in both over open in either (intersection over union), image by image; 1 where both are all closed.

    Args:
        one: gate -> bool [N, ...], of a network.
        other: of another of the same architecture, on the same images.

    Returns:
        Gate -> float64 [N] in 0..1; and `all`, of all gates together.

    Raises:
        MismatchError: a gate is in one alone, or of another shape, as in a network that was compacted.
    """
    both: dict[str, Tensor] = {}
    either: dict[str, Tensor] = {}
    for name in [*one, *other]:
        if name not in one or name not in other or one[name].shape != other[name].shape:
            shapes = [str(tuple(gates[name].shape)) if name in gates else "none" for gates in (one, other)]
            raise MismatchError(
                f"the gates of '{name}' are {' and '.join(shapes)}", where=name,
                hint="compare networks of one architecture, before they are compacted, on the same images",
            )  # fmt: skip
        both[name] = (one[name] & other[name]).flatten(1).sum(dim=1)
        either[name] = (one[name] | other[name]).flatten(1).sum(dim=1)
    found = {name: _share(both[name], either[name]) for name in both}
    if both:
        found[ALL] = _share(torch.stack([*both.values()]).sum(dim=0), torch.stack([*either.values()]).sum(dim=0))
    return found


def _share(part: Tensor, of: Tensor) -> Tensor:
    return torch.where(of > 0, part.double() / of.clamp(min=1), 1.0)
