"""`ticket compact`: a ticket of channels as the smaller dense network that it is, compared before it is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ticketcli.channels import compact as smaller
from ticketcli.channels.graph import ChannelGraph, channel_graph
from ticketcli.channels.masks import channels_of, expanded
from ticketcli.data.batches import in_order
from ticketcli.errors import MismatchError, TicketError, UsageError
from ticketcli.events import Note
from ticketcli.models.cost import cost_of, in_words
from ticketcli.models.encoder import Encoder
from ticketcli.recipe.configs import CompactConfig
from ticketcli.stages.job import Job, data_of, splits_of
from ticketcli.stages.networks import classifier_from, is_classifier, require_values
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import copy_of
from ticketcli.training.yields import Loaded, Output, Produced, Yield

_TOLERANCE = 1e-5  # of the largest output
_HINT = "prune with granularity: channel; what single zeros save is storage: ticket export --to NAME.ticket.safetensors"


def compact(job: Job[CompactConfig]) -> Iterator[Yield]:
    """Leave the fallen channels out, and check on real images that nothing else is different.

    Where channels join a residual sum, the sum keeps its width, unless they fell from all that is added (`residual`).
    All taps keep theirs: a pyramid or a decoder that fits the dense network fits this one. The checkpoint says its
    widths, by which every stage rebuilds it, and the sizes of the segments of GUNN layers, which become unequal.

    Raises:
        InputMissing: a bare mask file was given.
        UsageError: the ticket drops single weights, or it is of a pixel-level task.
        TicketError: the smaller network computes something else; nothing is written.
    """
    source = job.inputs["ticket"]
    model = _masked(source, job.device)
    graph, channels = _living(model, source)
    small = smaller.compact(model, channels, graph=graph)
    side = int(source.about["image_size"])
    before, after = cost_of(model, side), cost_of(small, side)
    yield Note(f"{source.ref}: {in_words(before)}; without its fallen channels {in_words(after)}")
    if _thins(model, graph, channels, source):
        yield Note(
            "the mask also drops single weights of channels that live; they are zeros in it, and nothing keeps them"
        )
    splits = splits_of(job, data_of(job.config.data, source.about), side, encoder=source.about)
    images = splits.validation if len(splits.validation.labels) else splits.train
    n = min(job.config.check_images, len(images.labels))
    if not n:
        raise UsageError("no images to compare it on", where="compact.data", hint="name another set")
    batches = in_order(images.take(torch.arange(n)), splits.normalization, 64, job.device)
    exact = rounded = 0.0
    for batch, _ in batches:
        exact = max(exact, apart(model.double(), small.double(), batch.double()))
        rounded = max(rounded, apart(model.float(), small.float(), batch.float()))
    if not max(exact, rounded) <= _TOLERANCE:
        raise TicketError(
            f"internal error: the smaller network computes something else: {max(exact, rounded):.2g} of its outputs",
            where=source.ref, hint="please report this; nothing was written",
        )  # fmt: skip
    widths = {**source.about.get("widths", {}), **smaller.widths(channels)}
    about = {**source.about, "widths": widths, **small.facts, "compact_of": source.identity}
    if any(group.falls_from_a_sum for group in graph.groups):
        about["residual"] = True
    metrics: dict[str, Any] = {
        **after, "before": before, "checked_on": n, "difference": exact, "difference_float32": rounded,
        "channels": {"kept": sum(smaller.widths(channels).values()), "of": sum(graph.channels.values())},
    }  # fmt: skip
    yield Produced("compact", (Output("compact", "compact", "compact", about, copy_of(small)),), metrics)


def _masked(source: Loaded, device: torch.device) -> Encoder:
    """The ticket's network, in eval mode, its masked weights +0.0."""
    require_values(source)
    if source.mask is None:
        raise MismatchError("nothing of this network is masked", where=source.ref, hint="name a ticket of channels")
    if not is_classifier(source.about):
        what = f"this network is for task: {source.about['task']}"
        raise UsageError(what, where=source.ref, hint="compact the ticket that it came from, and transfer that")
    return classifier_from(source, device)


def _living(model: Encoder, source: Loaded) -> tuple[ChannelGraph, dict[str, Tensor]]:
    """Which channels live, in the reading of the mask that explains more of it: with residual sums, or without.

    The mask decides, for a ticket may have the values of another checkpoint, which knows nothing of how it was pruned.
    What is compact already is read as it was before: its widths are told one way.
    """
    mask, about = source.mask, source.about
    assert mask is not None
    readings = []
    for residual in [bool(about.get("residual", False))] if about.get("widths") else [False, True]:
        graph = channel_graph(model, residual=residual)
        try:
            channels = channels_of(graph, mask)
        except MismatchError:
            continue
        readings.append((expanded(model, graph, channels).dropped, not residual, graph, channels))
    if not readings:
        what = "this ticket drops single weights, and no channel as a whole"
        raise UsageError(what, where=source.ref, hint=_HINT)
    *_, graph, channels = max(readings, key=lambda reading: reading[:2])
    if all(bool(one.all()) for one in channels.values()):
        raise UsageError("no channel of this ticket has fallen", where=source.ref, hint=_HINT)
    return graph, channels


def _thins(model: Encoder, graph: ChannelGraph, channels: dict[str, Tensor], source: Loaded) -> bool:
    """Whether the mask says more than which channels live."""
    assert source.mask is not None
    whole = expanded(model, graph, channels, names=source.mask)
    return not Mask({name: whole[name] for name in source.mask}) <= source.mask


@torch.no_grad()
def apart(one: Encoder, other: Encoder, images: Tensor) -> float:
    """The largest difference of taps and logits, each relative to its largest value; infinite for what is no number."""
    (taps, logits), (others, found) = one.taps_and_logits(images), other.taps_and_logits(images)
    worst = 0.0
    for a, b in [(logits, found), *((tap, others[name]) for name, tap in taps.items())]:
        gap = float((a - b).abs().max() / a.abs().max().clamp(min=1e-3))
        worst = max(worst, gap if gap == gap else float("inf"))
    return worst
