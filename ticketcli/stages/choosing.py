"""Which weights fall in a round: how many are to be left, asked of the criterion and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from typing import Any

from torch import Tensor

from ticketcli.canon import canonical
from ticketcli.criteria.by_layer import ByLayer
from ticketcli.criteria.selection import Kept, Request
from ticketcli.criteria.table import CRITERIA
from ticketcli.errors import MismatchError, TicketError, UsageError
from ticketcli.events import Note
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.stages.choosing_channels import choose_channels
from ticketcli.stages.chosen import Chosen, finetuned_state
from ticketcli.stages.output_error import output_difference, output_errors
from ticketcli.stages.pruned_network import PrunedNetwork
from ticketcli.stages.solving import Solving
from ticketcli.store.codec import mask_digest
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import copy_of, load_into
from ticketcli.tensors.masking import MaskedWeights
from ticketcli.tensors.ranks import require_equal
from ticketcli.training.recalibrate import calibration_batches
from ticketcli.training.yields import State, Yield


def n_kept(config: PruneConfig, mask: Mask, number: int, like: Mask | None = None) -> Kept | None:
    """How many weights round `number` leaves: of all, or of each layer; None where the criterion finds out.

    Raises:
        UsageError: a layer would be left without any.
        MismatchError: `like` keeps more weights of a layer than live there, or is of another network.
    """
    if like is not None:
        mask.require_same_shapes(like.shapes, of="the mask to be like")
        for name, kept in like.kept_by_name.items():
            if kept > mask.kept_by_name[name]:
                living = mask.kept_by_name[name]
                raise MismatchError(f"the mask to be like keeps {kept} weights where {living} live", where=name)
        return like.kept_by_name
    if config.epsilon is not None or config.pattern:
        return None
    if config.scope == "global" and config.sparsities is None:
        return config.kept_after(number, living=mask.kept, total=mask.total)
    found = {}
    for name, living in mask.kept_by_name.items():
        found[name] = config.kept_after(number, living=living, total=mask[name].size, layer=name)
        if living and not found[name]:
            layer = name.removesuffix(".weight")
            raise UsageError(
                f"nothing would be left of the {mask[name].size:,} weights of this layer",
                where=f"round {number}, {layer}", hint="give it a lower sparsity, in sparsities:"
            )  # fmt: skip
    return found


def drops_nothing(kept: Kept | None, mask: Mask) -> bool:
    """Whether all would stay."""
    return kept is not None and (kept if isinstance(kept, int) else sum(kept.values())) >= mask.kept


def select(network: PrunedNetwork, mask: Mask, number: int) -> Mask:
    """What round `number` leaves of `mask`, judged by the present weights alone.

    Every process makes it, and compares.
    """
    config = network.config
    criterion = CRITERIA[config.criterion]
    assert not isinstance(criterion, ByLayer)
    kept = _asked(network, mask, number)
    assert kept is not None
    weights = {name: weight.detach() for name, weight in network.weights.items()}
    return _checked(criterion(Request(weights, mask, kept, config.seed)), kept, mask, config, number)


def choose(
    network: PrunedNetwork, number: int, metrics: Mapping[str, Any], resume: State | None
) -> Generator[Yield, None, Chosen]:
    """What round `number` leaves of the network as it was finetuned; the network is as it was afterwards.

    Args:
        network: finetuned, under its mask.
        number: of the round.
        metrics: what was measured of it so far, to be saved with it.
        resume: a state that was saved while a criterion by layer was at work.
    """
    config, before = network.config, network.mask
    if config.drops_channels:
        return (yield from choose_channels(network, number, metrics, resume))
    criterion = CRITERIA[config.criterion]
    if not isinstance(criterion, ByLayer):
        return Chosen(select(network, before, number))
    kept = _asked(network, before, number)
    base = finetuned_state(network, metrics)
    finetuned = base["model"]
    batches = calibration_batches(network.splits, config.calibrate, network.device)
    what = f"round {number}/{config.n_rounds}"
    solving = Solving(what, config, criterion, network.model, before, kept, batches, base)
    if resume is not None:
        solving.load(resume)
    yield from solving.run()
    mask = _checked(solving.after, kept, before, config, number)
    if empty := [name.removesuffix(".weight") for name, kept in mask.kept_by_name.items() if not kept]:
        yield Note(f"{what}: nothing is left of layer{'s' * (len(empty) > 1)} {', '.join(empty)}")
    solving.adjust()
    MaskedWeights(network.weights, mask).apply()
    adjusted = copy_of(network.model)
    require_equal(_digest(adjusted), f"the adjusted weights of round {number}")
    errors = yield from output_errors(solving)
    load_into(network.model, finetuned, where=what)
    if criterion.adjusts:
        MaskedWeights(network.weights, mask).apply()
        errors["masked"] = yield from output_difference(solving, "the masked weights")
        load_into(network.model, finetuned, where=what)
    return Chosen(mask, adjusted if config.compensate else None, {"layers": solving.reports(), "output": errors})


def _asked(network: PrunedNetwork, mask: Mask, number: int) -> Kept | None:
    job = network.job
    like = job.series["like"][str(number)].mask if "like" in job.series else None
    like = job.inputs["like"].mask if "like" in job.inputs else like
    kept = n_kept(network.config, mask, number, like)
    if drops_nothing(kept, mask):
        raise UsageError(
            f"a round would drop nothing: it begins and ends with {mask.kept} living weights",
            where=f"round {number}",
            hint=_way_out(network.config, like),
        )
    return kept


def _way_out(config: PruneConfig, like: Mask | None) -> str:
    if like is not None:
        return "like must be sparser each round"
    if config.epsilon is not None:
        return "raise epsilon"
    return "raise sparsities" if config.sparsities is not None else "raise fraction, or ask for fewer rounds"


def _checked(found: Mask, kept: Kept | None, before: Mask, config: PruneConfig, number: int) -> Mask:
    """A mask that is what was asked for.

    Raises:
        UsageError: the criterion was to find out how much falls, and that is nothing or everything.
        TicketError: a count is wrong, or a weight came back; or the processes disagree.
    """
    where = f"round {number}"
    if kept is None and found.kept in (0, before.kept):
        every = "all weights" if found.kept == 0 else "none of the weights"
        raise UsageError(
            f"{every} would fall: {config.criterion} with " + (f"epsilon {config.epsilon:g}" if config.epsilon else
            f"pattern {config.pattern}"), where=where, hint=_other_epsilon(found.kept == 0, number)
        )  # fmt: skip
    exact = kept is None or (found.kept == kept if isinstance(kept, int) else found.kept_by_name == dict(kept))
    if not exact or not found <= before:
        wanted = (
            "" if kept is None else f" where {kept if isinstance(kept, int) else sum(kept.values())} were asked for"
        )
        raise TicketError(
            f"internal error: {config.criterion} kept {found.kept} weights{wanted}, or revived one",
            where=where, hint="please report this",
        )  # fmt: skip
    require_equal(mask_digest(found), f"the mask of {where}")
    return found


def _other_epsilon(everything: bool, number: int) -> str:
    if everything:
        return "lower epsilon"
    return "raise epsilon" if number == 1 else f"raise epsilon, or ask for rounds: {number - 1}; the earlier ones stay"


def _digest(values: Mapping[str, Tensor]) -> str:
    sha = hashlib.sha256(canonical(sorted(values)).encode())
    for name in sorted(values):
        sha.update(values[name].cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()
