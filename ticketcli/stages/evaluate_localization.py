"""`ticket evaluate --localize`: whether a classifier's gradients and gates find the objects that it knows.

The question behind it: does a ticket that was pruned with the reconstruction loss keep its localisation better than one
that was pruned without? So another network may look at the same images, and is compared row by row.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from ticketcli.data.instances import Shown
from ticketcli.errors import UsageError
from ticketcli.explain.boxes import box_of
from ticketcli.explain.search import Feedback
from ticketcli.explain.statistics import gate_overlap
from ticketcli.metrics.localization import (
    THRESHOLDS,
    Judged,
    Sightings,
    judged,
    mask_overlap,
    overlap,
    point_of,
    points_at,
)
from ticketcli.metrics.resampling import Estimate
from ticketcli.models.encoder import Encoder
from ticketcli.recipe.evaluate_config import EvaluateConfig, Localize
from ticketcli.stages.job import Job
from ticketcli.stages.maps import BLIND, Looked, Looker, Searching
from ticketcli.stages.sought import AT_ONCE, Row, Sought
from ticketcli.tensors.modes import evaluating
from ticketcli.tensors.turns import in_turns
from ticketcli.training.yields import Loaded, Yield

LOOKING = "looking for objects"  # what pauses between batches are called
Shares = dict[str, float]


@dataclass(frozen=True)
class _Seen:
    """What a method of one network made of a row; `shared` is how far its open gates are the other network's."""

    overlaps: list[float]
    pointed: bool
    ious: list[float] | None
    scores: tuple[float, float, int, bool] | None = None
    opened: Shares = field(default_factory=dict)
    shared: Shares = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """A row, looked at: by each network whether its class is taken, and what each method made of it."""

    image: int
    label: int
    taken: list[bool]
    seen: list[dict[str, _Seen]]


def measure_localization(
    job: Job[EvaluateConfig], networks: Sequence[Encoder], wanted: Sought
) -> Generator[Yield, None, list[Found]]:
    """Have each network look at every row, by every method; a batch of images after the other.

    Args:
        job: the work order.
        networks: the one that is evaluated, and the one beside it if there is one.
        wanted: what is looked for.
    """
    config = job.config.localize
    assert config is not None
    thresholds = thresholds_of(config)
    with evaluating(*networks):
        lookers = lookers_of(networks, config)
        rows: list[Found] = []
        for first, part in wanted.numbered():
            batches = wanted.batches(part, min(job.config.batch, AT_ONCE), job.device)
            look = partial(_look, lookers, wanted, first, thresholds, config.tolerance)
            for found in (yield from in_turns(batches, look, LOOKING)):
                rows += found
    return sorted(rows, key=lambda row: (row.image, row.label))


def lookers_of(networks: Sequence[Encoder], config: Localize) -> list[Looker]:
    """The networks with their methods."""
    searching = Searching(config.sweeps, config.ratio, config.border, config.fsp_ratio, config.middle)
    return [Looker(network, config.methods, searching) for network in networks]


def thresholds_of(config: Localize) -> tuple[float, ...]:
    """The shares of a map's maximum that are tried, or the one that was given."""
    return THRESHOLDS if config.threshold is None else (config.threshold,)


def _look(
    lookers: Sequence[Looker], wanted: Sought, first: int, thresholds: Sequence[float], tolerance: float,
    shown: Shown,
) -> list[Found]:  # fmt: skip
    found = []
    for images, rows in wanted.rows(first, shown):
        labels = torch.tensor([row.label for row in rows], device=images.device)
        with torch.no_grad():
            taken = [(looker.network(images).argmax(dim=1) == labels).tolist() for looker in lookers]
        looked = [looker.look(images, labels) for looker in lookers]
        for place, row in enumerate(rows):
            seen = [_seen_by(one, looked[1:] if number == 0 else (), place, row, thresholds, tolerance)
                    for number, one in enumerate(looked)]  # fmt: skip
            found.append(Found(row.image, row.label, [one[place] for one in taken], seen))
    return found


def _seen_by(
    looked: Looked, others: Sequence[Looked], place: int, row: Row, thresholds: Sequence[float], tolerance: float
) -> dict[str, _Seen]:
    """What each method of a network made of a row, and of its gates what another network has open too."""
    found = {}
    for method, maps in looked.maps.items():
        map_ = maps[place]
        boxes = torch.stack([box_of(map_, threshold) for threshold in thresholds])
        pointed = points_at(point_of(map_), row.boxes, tolerance * max(map_.shape))
        ious = None if row.mask is None else mask_overlap(map_, row.mask, thresholds).tolist()
        seen = _Seen(overlap(boxes, row.boxes).tolist(), pointed, ious)
        if method in looked.feedback:
            searched = looked.feedback[method]
            both = [_overlap(searched, one.feedback[method]) for one in others]
            shared = {name: float(share[place]) for one in both for name, share in one.items()}
            seen = replace(seen, scores=_scores(searched, place), opened=_at(searched.open_share, place), shared=shared)
        found[method] = seen
    return found


def _overlap(one: Feedback, other: Feedback) -> Mapping[str, torch.Tensor]:
    """How far both have the same gates open; nothing of networks whose gates are others, as in compact ones."""
    shapes = [{name: gates.shape for name, gates in found.gates.items()} for found in (one, other)]
    shared: dict[str, torch.Tensor] = gate_overlap(one.gates, other.gates) if shapes[0] == shapes[1] else {}
    return shared


def _scores(searched: Feedback, place: int) -> tuple[float, float, int, bool]:
    """The score before and after, after how many sweeps it stood still, and whether it did."""
    scores = searched.scores[place].tolist()
    moved = [number for number in range(1, len(scores)) if scores[number] != scores[number - 1]]
    return scores[0], scores[-1], moved[-1] if moved else 0, bool(searched.converged[place])


def _at(shares: Mapping[str, torch.Tensor], place: int) -> Shares:
    return {name: float(share[place]) for name, share in shares.items()}


def localization_metrics(
    rows: Sequence[Found], refs: Sequence[str], config: Localize, wanted: Sought, seed: int
) -> dict[str, Any]:
    """For the step's metrics: `localization`, by method, and `localization_of`: what was looked at, and by whom.

    Args:
        rows: of all images.
        refs: the networks, the one that is evaluated first.
        config: the settings.
        wanted: what was looked for.
        seed: of the intervals.
    """
    images = np.array([row.image for row in rows], dtype=np.int64)
    found: dict[str, Any] = {}
    for method in config.methods:
        each = [judged_by(rows, number, method, config) for number in range(len(refs))]
        one = found[method] = {**_told(each[0].estimates(seed)), **_thresholds(each[0]), **_searched(rows, 0, method)}
        if len(refs) > 1 and method not in BLIND:
            beside = {**_means(each[1].estimates(seed)), **_thresholds(each[1])}
            one["beside"] = {**beside, **_searched(rows, 1, method)}
            one["less"] = _told(each[0].less(each[1], seed))
    counted = dict.fromkeys(wanted.class_names, 0)
    for row in rows:
        counted[wanted.class_names[row.label]] += 1
    about: dict[str, Any] = {
        "data": config.model_dump(mode="json", exclude_defaults=True),
        "side": wanted.side,
        "images": len(set(images.tolist())),
        "rows": len(rows),
        "classes": {name: n for name, n in counted.items() if n},
        "masks": wanted.masks,
        "set": dict(wanted.counts),
        "top1": _top1(rows, 0),
        "methods": list(config.methods),
        "gates": list(dict.fromkeys(name for one in rows[0].seen[0].values() for name in one.opened)),
    }
    if len(refs) > 1:
        about |= {"beside": refs[1], "beside_top1": _top1(rows, 1)}
    return {"localization": found, "localization_of": about}


def judged_by(rows: Sequence[Found], network: int, method: str, config: Localize) -> Judged:
    """The rows as one network's method sees them, each at its threshold."""
    own = [row.seen[network][method] for row in rows]
    ious = None if any(one.ious is None for one in own) else np.array([one.ious for one in own], dtype=np.float64)
    seen = Sightings(np.array([one.overlaps for one in own]), np.array([one.pointed for one in own]), ious)
    images = np.array([row.image for row in rows], dtype=np.int64)
    return judged(seen, images, np.array([row.taken[network] for row in rows]), thresholds_of(config))


def _told(found: Mapping[str, Estimate]) -> dict[str, Any]:
    intervals = {f"{name}_interval": [one.low, one.high] for name, one in found.items()}
    return {**_means(found), **intervals}


def _means(found: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: one.mean for name, one in found.items()}


def _thresholds(found: Judged) -> dict[str, Any]:
    return {f"{kind}_thresholds": list(used) for kind, used in found.thresholds.items()}


def _searched(rows: Sequence[Found], network: int, method: str) -> dict[str, Any]:
    """Of methods with gates, what one network's searches found: means over the rows; nothing of others."""
    own = [row.seen[network][method] for row in rows]
    scores = [one.scores for one in own if one.scores is not None]
    if not scores:
        return {}
    before, after, sweeps, still = (_mean(values) for values in zip(*scores, strict=True))
    told: dict[str, Any] = {"score_before": before, "score_after": after, "sweeps": sweeps, "converged": still}
    told["open"] = {name: _mean([one.opened[name] for one in own]) for name in own[0].opened}
    if own[0].shared:
        told["shared"] = {name: _mean([one.shared[name] for one in own]) for name in own[0].shared}
    return told


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _top1(rows: Sequence[Found], network: int) -> float:
    """The share of the images that are taken for a class that is on them."""
    hit = {row.image for row in rows if row.taken[network]}
    return len(hit) / len({row.image for row in rows})


def require_comparable(beside: Loaded, source: Loaded) -> None:
    """Refuse another network that would see other pixels, or knows other classes.

    Raises:
        UsageError: says which.
    """
    for name, what in (
        ("normalization", "expects images normalised otherwise"),
        ("class_names", "knows other classes"),
    ):
        if beside.about.get(name) != source.about.get(name):
            hint = "name a network of the same source, such as the dense one"
            raise UsageError(f"{beside.ref} {what} than {source.ref}", where="evaluate.beside", hint=hint)
