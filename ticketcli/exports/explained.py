"""`ticket explain`: for each image and target the gates that maximise it, and what then moves it, by network."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ticketcli.data.images import Normalization
from ticketcli.errors import MismatchError, UsageError, did_you_mean
from ticketcli.events import Progress
from ticketcli.explain.boxes import box_of
from ticketcli.explain.maps import energy_map
from ticketcli.explain.search import Feedback, GatedNetwork
from ticketcli.explain.targets import ClassTarget, NeuronTarget, Target
from ticketcli.exports.explained_images import Item
from ticketcli.exports.subject import Subject, require_classifier
from ticketcli.metrics.localization import overlap
from ticketcli.stages.networks import network_from
from ticketcli.training.yields import Loaded

Mode = Literal["fr", "fsp", "fsp-fr"]
Guard = Literal["backtrack", "none"]
_NEURON = re.compile(r"(?P<layer>[^:]+):(?P<channel>\d{1,9})(:(?P<row>\d{1,9}):(?P<column>\d{1,9}))?")


@dataclass(frozen=True)
class Search:
    """How gates are searched for, and what is maximised.

    Attributes:
        target: gt, top1, a class by name or number, or LAYER:CHANNEL[:ROW:COLUMN].
        threshold: the share of a map's maximum that makes its box and its region.
        batch: images in a forward pass.
        fsp_ratio, middle: of mode fsp-fr, the ratio of FSP's stages and where they hand over; None as `search` has it.
    """

    target: str
    mode: Mode = "fr"
    guard: Guard = "backtrack"
    ratio: float = 0.0
    border: bool = False
    sweeps: int = 10
    threshold: float = 0.15
    batch: int = 16
    fsp_ratio: float | None = None
    middle: str | None = None


@dataclass(frozen=True)
class Network:
    """A checkpoint, ready to be asked."""

    ref: str
    source: Loaded
    gated: GatedNetwork
    model: torch.nn.Module

    @property
    def class_names(self) -> tuple[str, ...]:
        """By logit."""
        return tuple(self.source.about["class_names"])


@dataclass(frozen=True)
class Row:
    """One image and target, as one network sees it.

    Attributes:
        image: which of the images.
        target: the class, or the neuron as it was named.
        taken: the class of the network's greatest logit.
        scores: of the target, before the first sweep and after each.
        map_: float32 [h, w] in 0..1, the energy.
        box: float [4], x0, y0, x1, y1 in pixels.
        region: bool [h, w], where the energy is at least the threshold's share of its maximum.
        iou: of the box with the best of the class's true ones; None where nobody knows them.
        converged: whether the search came to an end.
        opened: layer -> the share of its active units whose gates are open.
        gates: gate -> bool [C, h', w'], where they are to be kept.
    """

    image: int
    target: str
    taken: str
    scores: tuple[float, ...]
    map_: Tensor
    box: Tensor
    region: Tensor
    iou: float | None
    converged: bool
    opened: dict[str, float]
    gates: dict[str, Tensor]


def load_networks(subjects: Sequence[Subject], device: torch.device) -> list[Network]:
    """The networks, their gates made.

    Raises:
        UsageError: a network is none of classes, or has operations that allow no gates.
        MismatchError, InputMissing, CorruptError: as `Subject.load`.
    """
    found = []
    for subject in subjects:
        source = subject.load()
        hint = "'ticket evaluate --pictures' shows what it finds"
        require_classifier(source.about, what="explain is for classifiers", where=subject.ref, hint=hint)
        model = network_from(source, device)
        found.append(Network(subject.ref, source, GatedNetwork(model), model))
    return found


def targets_of(networks: Sequence[Network], items: Sequence[Item], target: str) -> list[tuple[int, str]]:
    """The rows: an image's number, and what is maximised of it; of top1 each network's own, so it has no name yet.

    Raises:
        UsageError: the target is no class of a network, and no neuron's name.
    """
    if target == "gt":
        known = set.intersection(*(set(network.class_names) for network in networks))
        return [(k, name) for k, item in enumerate(items) for name in item.truth if name in known]
    if target != "top1" and (target in networks[0].class_names or not _NEURON.fullmatch(target)):
        target = networks[0].class_names[class_of(networks[0], target)]
        for network in networks[1:]:
            class_of(network, target)
    return [(k, target) for k in range(len(items))]


def class_of(network: Network, name: str) -> int:
    """The logit of a class, by name or number.

    Raises:
        UsageError: the network has no such class.
    """
    names = network.class_names
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < len(names):
        return int(name)
    hint = did_you_mean(name, [*names, "gt", "top1"]) + "; a neuron is LAYER:CHANNEL[:ROW:COLUMN]"
    raise UsageError(f"{network.ref} knows no class '{name}'", where="--target", hint=hint)


def explained(
    network: Network, items: Sequence[Item], rows: Sequence[tuple[int, str]], search: Search, *, keeps_gates: bool
) -> Generator[Progress, None, list[Row]]:
    """Search every row, images of one size together.

    Args:
        network: to be asked.
        items: the images.
        rows: as `targets_of` has them.
        search: how.
        keeps_gates: whether the gates are wanted.
    """
    sizes = [tuple(items[image].pixels.shape) for image, _ in rows]
    found: dict[int, Row] = {}
    for size in dict.fromkeys(sizes):
        places = [place for place, own in enumerate(sizes) if own == size]
        for start in range(0, len(places), search.batch):
            some = places[start : start + search.batch]
            each = _batch(network, items, [rows[place] for place in some], search, keeps_gates=keeps_gates)
            found |= dict(zip(some, each, strict=True))
            yield Progress(f"looking with {network.ref}", len(found), len(rows))
    return [found[place] for place in range(len(rows))]


def _batch(
    network: Network, items: Sequence[Item], rows: Sequence[tuple[int, str]], search: Search, *, keeps_gates: bool
) -> list[Row]:
    learnt = network.source.about["normalization"]
    normalization = Normalization(tuple(learnt["mean"]), tuple(learnt["std"]))
    device = next(network.model.parameters()).device
    images = normalization.normalize(torch.stack([items[image].pixels for image, _ in rows]).to(device))
    with torch.no_grad():
        taken = network.model(images).argmax(dim=1)
    target = _target(network, [name for _, name in rows], taken)
    found = network.gated.search(
        images, target, mode=search.mode, max_sweeps=search.sweeps, ratio=search.ratio, border=search.border,
        guard=search.guard, middle=search.middle, fsp_ratio=search.fsp_ratio,
    )  # fmt: skip
    maps = energy_map(found.input_gradient).detach().float().cpu()
    names = network.class_names
    done = []
    for place, (image, name) in enumerate(rows):
        best = names[int(taken[place])]
        name = best if name == "top1" else name
        done.append(_row(image, name, best, items[image], found, maps[place], place, search, keeps_gates))
    return done


def _target(network: Network, names: Sequence[str], taken: Tensor) -> Target:
    if names[0] == "top1":
        return ClassTarget(taken)
    if names[0] not in network.class_names and (match := _NEURON.fullmatch(names[0])):
        place = (int(match["row"]), int(match["column"])) if match["row"] else (None, None)
        return NeuronTarget(match["layer"], int(match["channel"]), *place)
    return ClassTarget(torch.tensor([class_of(network, name) for name in names], device=taken.device))


def _row(
    image: int, name: str, taken: str, item: Item, found: Feedback, map_: Tensor, place: int, search: Search,
    keeps_gates: bool,
) -> Row:  # fmt: skip
    box, highest = box_of(map_, search.threshold), map_.max()
    region = (map_ >= search.threshold * highest) & (highest > 0)
    truth = item.boxes.get(name)
    iou = None if truth is None else float(overlap(box[None], truth)[0])
    opened = {layer: float(share[place]) for layer, share in found.open_share.items()}
    gates = {layer: one[place].cpu() for layer, one in found.gates.items()} if keeps_gates else {}
    scores = tuple(found.scores[place].tolist())
    return Row(image, name, taken, scores, map_, box, region, iou, bool(found.converged[place]), opened, gates)


def require_alike(networks: Sequence[Network], side: int | None) -> None:
    """Refuse networks that would see the same images at other sizes, unless a size is named.

    Raises:
        MismatchError: says which.
    """
    first = networks[0]
    for other in networks[1:]:
        if side is None and other.source.about["image_size"] != first.source.about["image_size"]:
            sizes = [int(one.source.about["image_size"]) for one in (other, first)]
            what = f"{other.ref} looks at {sizes[0]} pixels, {first.ref} at {sizes[1]}"
            raise MismatchError(what, where=other.ref, hint=f"name the side for all: --side {sizes[1]}")


def facts_of(rows: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    """Every row as JSON has it, network by network."""
    return [
        {
            "checkpoint": ref,
            "image": row.image,
            "target": row.target,
            "taken": row.taken,
            "scores": list(row.scores),
            "box": row.box.tolist(),
            "region_share": float(row.region.float().mean()),
            "iou": row.iou,
            "converged": row.converged,
            "open": row.opened,
        }
        for ref, own in rows.items()
        for row in own
    ]
