"""Which channels fall in a round: their scores, how many are to be left, and the mask of weights that says so."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import torch
from torch import Tensor

from ticketcli.channels import scores as scored
from ticketcli.channels.choice import drop_lowest
from ticketcli.channels.counting import costs, total
from ticketcli.channels.graph import ChannelGraph
from ticketcli.channels.masks import channels_of, expanded
from ticketcli.errors import TicketError, UsageError
from ticketcli.models.cost import macs_by_layer, one_image
from ticketcli.stages.chosen import Chosen, finetuned_state
from ticketcli.stages.controlling import Controlling
from ticketcli.stages.crediting import Crediting
from ticketcli.stages.knockoffs import seed_of
from ticketcli.stages.pruned_network import PrunedNetwork
from ticketcli.store.codec import mask_digest
from ticketcli.tensors.files import load_into
from ticketcli.tensors.ranks import require_equal
from ticketcli.training.recalibrate import calibration_batches
from ticketcli.training.yields import State, Yield

Channels = dict[str, Tensor]  # convolution -> bool [C]


def choose_channels(
    network: PrunedNetwork, number: int, metrics: Mapping[str, Any], resume: State | None
) -> Generator[Yield, None, Chosen]:
    """What round `number` leaves of the network as it was finetuned; the network is as it was afterwards.

    Args:
        network: finetuned, under its mask.
        number: of the round.
        metrics: what was measured of it so far, to be saved with it.
        resume: a state that was saved while SCOP's selection was trained, or images were looked at.

    Raises:
        UsageError: no channel would fall, or none of a layer would be left.
        TicketError: a channel came back; or the processes disagree.
    """
    graph, where = network.graph, f"round {number}"
    assert graph is not None
    before = channels_of(graph, network.mask)
    found, report = yield from _scores(network, graph, number, metrics, resume)
    after = _left(network, graph, found, before, number)
    if all(bool((after[name] == before[name]).all()) for name in before):
        living = sum(int(one.sum()) for one in before.values())
        raise UsageError(
            f"a round would drop no channel: it begins and ends with {living}", where=where,
            hint="raise fraction or channel_fraction, or lower round_to",
        )  # fmt: skip
    mask = expanded(network.model, graph, after, names=network.weights)
    revived = not mask <= network.mask
    if revived or any(not torch.equal(one, after[name]) for name, one in channels_of(graph, mask).items()):
        raise TicketError("internal error: a channel came back", where=where, hint="please report this")
    require_equal(mask_digest(mask), f"the mask of {where}")
    return Chosen(mask, report={**_counts(network, graph, after), **report})


def _scores(
    network: PrunedNetwork, graph: ChannelGraph, number: int, metrics: Mapping[str, Any], resume: State | None
) -> Generator[Yield, None, tuple[scored.Scores, dict[str, Any]]]:
    """What each channel is worth, and what there is to report of how that was found."""
    config, model = network.config, network.model
    if config.criterion in ("l1", "l2"):
        return scored.filter_norms(model, graph, order=int(config.criterion[1:])), {}
    if config.criterion == "bn_scale":
        return scored.bn_scales(model, graph), {}
    if config.criterion == "random":
        return scored.random_scores(graph, seed=config.seed), {}
    if config.criterion == "feedback":
        return (yield from _credited(network, graph, number, metrics, resume))
    if config.takes_controls:
        return (yield from _controlled(network, graph, number, metrics, resume))
    raise TicketError(
        f"internal error: no scores of '{config.criterion}'", where="criterion", hint="please report this"
    )


def _controlled(
    network: PrunedNetwork, graph: ChannelGraph, number: int, metrics: Mapping[str, Any], resume: State | None
) -> Generator[Yield, None, tuple[scored.Scores, dict[str, Any]]]:
    """How much each channel wants of itself where it could have its knockoff instead."""
    config, model = network.config, network.model
    base = finetuned_state(network, metrics)
    learning = network.batches("controls", number)
    images = calibration_batches(network.splits, config.calibrate, network.device)
    what = f"round {number}/{config.n_rounds}"
    controlling = Controlling(what, config, model, graph, learning, images, base, seed_of(config, number))
    if resume is not None:
        controlling.load(resume)
    try:
        yield from controlling.run()
    finally:
        learning.close()
    load_into(model, base["model"], where=what)  # nothing moved it; a stage does not have to take that on trust
    return scored.scop_scores(model, graph, controlling.betas), {"selection": controlling.report}


def _credited(
    network: PrunedNetwork, graph: ChannelGraph, number: int, metrics: Mapping[str, Any], resume: State | None
) -> Generator[Yield, None, tuple[scored.Scores, dict[str, Any]]]:
    """What each channel adds to the logits, through the gates that feedback finds."""
    config, base = network.config, finetuned_state(network, metrics)
    # what goes back takes as much memory as in training
    images = calibration_batches(network.splits, config.calibrate, network.device, at_most=config.batch)
    crediting = Crediting(f"round {number}/{config.n_rounds}", network.model, graph, images, base)
    if resume is not None:
        crediting.load(resume)
    yield from crediting.run()
    load_into(network.model, base["model"], where=crediting.what)  # as below
    return scored.feedback_scores(graph, crediting.importance), {"feedback": crediting.report}


def _left(network: PrunedNetwork, graph: ChannelGraph, found: scored.Scores, before: Channels, number: int) -> Channels:
    """Those that fell before fall first, so that a share of all channels holds from round to round."""
    config = network.config
    lowest = min(float(one.min()) for one in found.values()) - 1.0
    ranked = {name: one.masked_fill(~before[name], lowest) for name, one in found.items()}
    left = drop_lowest(
        ranked, scored.scales(network.model, graph), config.channels_gone(number), scope=config.scope,
        multiple=config.round_to, constants_first=config.takes_controls,
    )  # fmt: skip
    return {name: one & before[name] for name, one in left.items()}


def _counts(network: PrunedNetwork, graph: ChannelGraph, after: Channels) -> dict[str, Any]:
    """Channels, and what they save, by the dense network's shapes: nothing is smaller before it is compacted."""
    macs = macs_by_layer(network.model, one_image(network.splits.train.size))
    cost = total(costs(network.model, graph, after, macs))
    layers = {name: {"kept": int(one.sum()), "of": len(one)} for name, one in after.items()}
    kept, of = (sum(one[key] for one in layers.values()) for key in ("kept", "of"))
    return {
        "channels": {"kept": kept, "of": of, "layers": layers},
        "cost": {
            "parameters": cost.parameters, "parameters_left": cost.parameters_left,
            "macs": cost.macs, "macs_left": cost.macs_left,
        },
    }  # fmt: skip
