"""`ticket evaluate` of a pixel-level network: its measures, what it found, and pictures of its worst images."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ticketcli.data.instances import InstanceSet, Shown
from ticketcli.errors import UsageError
from ticketcli.models.cost import parameters
from ticketcli.overlays.sheet import Entry, Row, cell_side, sheet, worst_first
from ticketcli.recipe.configs import Data
from ticketcli.recipe.evaluate_config import EvaluateConfig
from ticketcli.stages.evaluate_features import measure_features
from ticketcli.stages.evaluate_latency import layers, measure_latency, weighed
from ticketcli.stages.job import Job, data_of, splits_of
from ticketcli.stages.networks import body_of, dense_encoder, network_of
from ticketcli.tasks.pixels import tested
from ticketcli.tasks.table import TASKS
from ticketcli.tasks.task import Head
from ticketcli.training.yields import Output, Produced, Yield

_ROWS = 6  # of images on a sheet


def evaluate_pixels(job: Job[EvaluateConfig]) -> Iterator[Yield]:
    """Measure a network for pixels, boxes or masks on a part of its target.

    Writes the measures; what was found as COCO's results format has it (`results.json`); and, if asked for, sheets of
    the images on which the network lost most against the one beside it.

    Raises:
        UsageError: the settings or the images are for another kind of network, or a setting would do nothing.
    """
    config, source = job.config, job.inputs["of"]
    if "decoder" in job.inputs or config.recalibrate_bn:
        raise UsageError("decoder and recalibrate_bn are for classifiers", where="evaluate", hint="leave them out")
    if config.localize is not None:
        hint = "this network finds objects by itself; its box AP says how well"
        raise UsageError("localize is for classifiers", where="evaluate.localize", hint=hint)
    if "beside" in job.inputs and not config.pictures:
        hint = "ask for pictures, or leave it out"
        raise UsageError("beside is for pictures of what was found", where="evaluate.beside", hint=hint)
    head, task = Head.of(source.about), TASKS[source.about["task"]]
    data: Data = data_of(config.data, source.about)
    splits = splits_of(job, data, int(source.about["image_size"]), encoder=source.about, outlined=True)
    task.check(splits)
    images = splits.test if config.split == "test" else splits.validation
    assert isinstance(images, InstanceSet)
    if task.class_names(splits, head.regions) != head.class_names:
        what = f"the set's classes are not those that the network knows ({', '.join(head.class_names[:6])} ...)"
        raise UsageError(what, where="evaluate.data", hint="name a set of the same classes")
    if not images.pictures:
        raise UsageError(f"the set has no {config.split} images", where="evaluate.data", hint="split: validation")
    batch = min(config.batch, task.test_batch)
    model = network_of(source, head, job.device)
    judged = yield from task.judge(
        model, images, splits.normalization, head, job.device, batch, f"{config.split} images"
    )
    found: dict[str, Any] = {
        "of": source.ref,
        "task": source.about["task"],
        "split": config.split,
        "data": data.model_dump(mode="json", exclude_defaults=True),
        **judged.metrics,
        "parameters": parameters(model),
    }
    if source.mask is not None:
        found |= {"sparsity": source.mask.sparsity, "network_sparsity": source.mask.dropped / parameters(model)}
    if config.features:
        views = tested(images, splits.normalization, head, job.device, batch=batch, masks=False)
        found |= yield from measure_features(job, body_of(model), dense_encoder(job), splits, views, _images_alone)
    timed: dict[str, Any] = {}
    if config.latency:
        body, dense = body_of(model), dense_encoder(job)
        found |= {"sizes": weighed(source, model, dense)}
        found |= {"layers": layers(body, source.mask, head.side, classifies=False)}
        timed = yield from measure_latency(job, body, dense, head.side)
    files: dict[str, bytes] = {}
    if judged.results is not None:
        files["results.json"] = json.dumps(judged.results).encode()
    if config.pictures:
        networks, before = {source.ref: model}, (1.0,) * len(judged.scores)
        if "beside" in job.inputs:
            beside = job.inputs["beside"]
            _require_alike(beside.about, source.about)
            other = network_of(beside, Head.of(beside.about), job.device)
            judged_other = yield from task.judge(
                other, images, splits.normalization, head, job.device, batch, f"{beside.ref} beside"
            )
            before = judged_other.scores
            networks = {beside.ref: other, source.ref: model}
        order = worst_first(dict(enumerate(before)), dict(enumerate(judged.scores)))[: config.pictures]
        chosen = images.take(torch.tensor(order))
        rows, legend = task.pictures(
            list(networks.values()), chosen, splits.normalization, head, job.device, cell_side(len(networks) + 2)
        )
        files |= _sheets(rows, legend, list(networks), beside="beside" in job.inputs)
    metrics = {**found, **timed, "images": splits.counts()}
    yield Produced("metrics", (Output("metrics", "metrics", "metrics", found, {}, files=files),), metrics)


def _images_alone(shown: Shown) -> tuple[Tensor, Tensor]:
    """As the network is shown them, with what was filled up around them; they have no classes."""
    return shown.images, torch.zeros(len(shown.images), dtype=torch.int64)


def _sheets(rows: list[Row], legend: tuple[Entry, ...], names: list[str], *, beside: bool) -> dict[str, bytes]:
    """File name -> PNG, a few rows each."""
    titles = [*["image", "truth"][-(len(rows[0].cells) - len(names)) :], *names] if rows else names
    files = {}
    for number, start in enumerate(range(0, len(rows), _ROWS), 1):
        some = rows[start : start + _ROWS]
        heading = f"{names[-1]} beside {names[0]}, the greatest losses first" if beside else names[-1]
        png = io.BytesIO()
        sheet(some, titles, heading=heading, legend=legend).save(png, "PNG", optimize=True)
        files[f"pictures-{number}.png"] = png.getvalue()
    return files


def _require_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    for name in ("task", "class_names", "data", "normalization", "head"):
        if one.get(name) != other.get(name):
            hint = "name a network of the same target"
            raise UsageError(f"the network beside it has another {name}", where="evaluate.beside", hint=hint)
