"""`ticket import`: a dense network from a zoo or from a file, every key and shape accounted for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ticketcli.errors import UsageError
from ticketcli.events import Note
from ticketcli.models.architectures import build_encoder
from ticketcli.models.cost import cost_of, in_words
from ticketcli.models.foreign_names import by_order, fit, head_name, unwrap
from ticketcli.models.table import architecture, imported_arch
from ticketcli.models.zoo import published
from ticketcli.recipe.configs import ImportConfig
from ticketcli.stages.import_packed import import_packed
from ticketcli.stages.job import Job
from ticketcli.tensors.ranks import one_first
from ticketcli.training.yields import Output, Produced, Yield

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class _Source:
    """Foreign weights and what is known of them; `normalization` is (mean, std) by channel, None if nobody said."""

    name: str
    arch: str
    values: Mapping[str, Tensor]
    image_size: int
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None
    class_names: tuple[str, ...] = ()
    url: str = ""


def import_weights(job: Job[ImportConfig]) -> Iterator[Yield]:
    """Write foreign weights as a dense checkpoint: own names, float32, and what they were trained for beside them.

    A packed ticket, which `ticket export` made, becomes a ticket again.

    Nothing is measured here: `ticket evaluate --of import` does that, on images of the right kind.

    Raises:
        UsageError: no source, no architecture for a file, or no head and no `n_classes`.
        MismatchError: a key is missing or left over, or a shape differs.
        InputMissing: published weights cannot be fetched.
    """
    config = job.config
    if config.unpacks:
        yield from import_packed(job)
        return
    source = _source(job, imported_arch(config))
    head = build_encoder(source.arch, n_classes=1, seed=0).head_prefixes[0]
    weights, changes = dict(source.values), []
    if config.match == "order" and source.name.endswith(".safetensors"):
        raise UsageError(
            "a safetensors file does not keep the order of its tensors", where=source.name, hint="import a .pth file"
        )
    if config.match == "order":
        n_outputs = next((value.shape[0] for value in reversed(weights.values()) if value.ndim == 2), 1)
        own = build_encoder(source.arch, n_classes=n_outputs, seed=0).state_dict()
        weights, changes = by_order(weights, own, where=source.name), ["names matched by order"]
    theirs = head_name(unwrap(weights, {}), head)
    n_classes = config.n_classes if theirs is None else unwrap(weights, {})[f"{theirs}weight"].shape[0]
    if config.n_classes not in (None, n_classes):
        raise UsageError(
            f"these weights have {n_classes} classes, n_classes says {config.n_classes}",
            where=source.name,
            hint="leave it out; 'ticket transfer' puts a fresh head in",
        )
    if n_classes is None:
        raise UsageError(
            "these weights have no classifier", where=source.name, hint="n_classes: N gives them a fresh, seeded one"
        )
    model = build_encoder(source.arch, n_classes=n_classes, seed=config.seed)
    fitted = fit(weights, model.state_dict(), head=head, where=source.name, without_head=theirs is None)
    mean, std = source.normalization or IMAGENET
    changes += fitted.changes() + (["a fresh head"] if theirs is None else [])
    for words in _words(source, len(fitted.values), changes, (mean, std)):
        yield Note(words)
    cost = cost_of(model, source.image_size)
    yield Note(f"{source.arch}: {in_words(cost)} of {source.image_size} pixels, {n_classes} classes")
    known = source.class_names if len(source.class_names) == n_classes else tuple(map(str, range(n_classes)))
    about: dict[str, Any] = {
        "arch": source.arch,
        "image_size": source.image_size,
        "class_names": list(known),
        "data": config.data.model_dump(mode="json", exclude_defaults=True) if config.data else None,
        "normalization": {"mean": list(mean), "std": list(std)},
        "seed": config.seed,
        **model.facts,
        "imported": {"source": source.name, "url": source.url, "changes": changes},
    }
    metrics = {**cost, "tensors": len(fitted.values), "changes": changes}
    yield Produced("dense", (Output("dense", "dense", "dense", about, fitted.values),), metrics)


def _source(job: Job[ImportConfig], arch: str) -> _Source:
    config = job.config
    own = (config.mean, config.std) if config.mean is not None and config.std is not None else None
    if "source" in job.inputs:
        file = job.inputs["source"]
        return _Source(file.ref, arch, file.values, config.image_size or architecture(arch).image_size, own)
    with one_first():  # it fetches them, the others find them
        zoo = published(config.source)
    if config.arch not in ("", zoo.arch):
        raise UsageError(f"these weights are of {zoo.arch}", where="import.arch", hint="leave arch out")
    return _Source(
        zoo.source, zoo.arch, zoo.values, config.image_size or zoo.image_size, own or (zoo.mean, zoo.std),
        zoo.class_names, zoo.url,
    )  # fmt: skip


def _words(
    source: _Source, n_tensors: int, changes: list[str], normalization: tuple[tuple[float, ...], tuple[float, ...]]
) -> Iterator[str]:
    changed = "; ".join(changes) or "nothing changed"
    yield f"{source.name}: all {n_tensors} tensors accounted for; {changed}"
    mean, std = (", ".join(f"{value:g}" for value in part) for part in normalization)
    whose = "" if source.normalization else " (ImageNet's, because nothing else was said; mean: and std: name others)"
    yield f"images are normalised with mean {mean} and std {std}{whose}"
