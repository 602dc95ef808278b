"""Average precision of boxes, as large as COCO's val2017: ours, pycocotools, faster-coco-eval."""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ticketcli.annotations.pictures import Instance, Picture
from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.run import missing
from ticketcli.bench.table import HOW
from ticketcli.metrics.average_precision import Result, average_precision
from ticketcli.tensors.seeds import derive

_PICTURES, _OBJECTS, _FOUND, _CATEGORIES = 5000, 7.36, 36, 80  # an image: val2017's objects, a detector's findings
_WIDTH, _HEIGHT = 640, 480
_CLOSE = 1e-9
_STATS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
          "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")  # fmt: skip
# module -> class of the file, class of the evaluation, goal
_PEERS: dict[str, tuple[str, str, Goal | None]] = {
    "pycocotools": ("coco:COCO", "cocoeval:COCOeval", Goal("faster", 7)),
    "faster_coco_eval": (":COCO", ":COCOeval_faster", None),
}
Numbers = dict[str, float | None]


def run(job: BenchJob) -> Iterator[Row]:
    """From results in memory to numbers; the annotations have been read, as they have in ours."""
    n = job.sized(_PICTURES, at_least=20)
    pictures = _pictures(n)
    results = _results(pictures)
    names, ids = [f"class {k}" for k in range(_CATEGORIES)], list(range(1, _CATEGORIES + 1))
    ours = partial(_ours, pictures, names, ids, results)
    what = f"box AP of {n:,} images, {sum(len(one.instances) for one in pictures):,} objects, {len(results):,} found"
    for package, (file, evaluation, goal) in _PEERS.items():
        if missing(package):
            yield job.absent(what, package, f"not installed: {HOW[package]}", goal)
            continue
        theirs = partial(_theirs, package, file, evaluation, pictures, names, ids, results)
        yield job.compare(what, ours, package, theirs, equality=partial(_agree, ours, theirs), goal=goal)


def _pictures(n: int) -> list[Picture]:
    draw = np.random.default_rng(derive(0, "bench/coco objects"))
    pictures, number = [], 0
    for image in range(1, n + 1):
        instances = []
        for _ in range(int(draw.poisson(_OBJECTS))):
            number += 1
            width, height = np.exp(draw.uniform(np.log(8), np.log([_WIDTH / 1.5, _HEIGHT / 1.5])))
            x, y = draw.uniform(0, (_WIDTH - width, _HEIGHT - height))
            label = int(min(_CATEGORIES * draw.random() ** 2, _CATEGORIES - 1))  # some classes are common
            box = (float(x), float(y), float(width), float(height))
            instances.append(
                Instance(number, label, box, None, float(0.6 * width * height), bool(draw.random() < 0.01))
            )
        pictures.append(Picture(image, "", _HEIGHT, _WIDTH, tuple(instances)))
    return pictures


def _results(pictures: list[Picture]) -> list[Result]:
    """A mediocre detector's: most objects more or less where they are, some twice, and much that is nothing."""
    draw = np.random.default_rng(derive(0, "bench/coco results"))
    results = []
    for picture in pictures:
        found = [(one.label, one.box) for one in picture.instances for _ in range(int(draw.integers(0, 4)))]
        while len(found) < _FOUND:
            found.append((int(draw.integers(_CATEGORIES)), (*draw.uniform(0, 300, 2), *draw.uniform(5, 200, 2))))
        for label, (x, y, width, height) in found[:_FOUND]:
            dx, dy, wider, higher = draw.normal(0, 0.12, 4)
            box = [x + dx * width, y + dy * height, width * math.exp(wider), height * math.exp(higher)]
            results.append({"image_id": picture.id, "category_id": label + 1, "bbox": [float(side) for side in box],
                            "score": float(draw.random())})  # fmt: skip
    return results


def _ours(pictures: list[Picture], names: list[str], ids: list[int], results: list[Result]) -> Numbers:
    found = average_precision(pictures, names, ids, results, ("bbox",))["box"]
    return {name: found[name] for name in _STATS}


def _theirs(
    package: str, file: str, evaluation: str, pictures: list[Picture], names: list[str], ids: list[int],
    results: list[Result],
) -> Numbers:  # fmt: skip
    """What every user of the package writes, silenced."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _find(package, file)()
        truth.dataset = _dataset(pictures, names, ids)
        truth.createIndex()
        found = truth.loadRes(copy.deepcopy(results))
        judge = _find(package, evaluation)(truth, found, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {name: None if value == -1 else float(value) for name, value in zip(_STATS, judge.stats, strict=False)}


def _find(package: str, place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"{package}.{module}".rstrip(".")), name)


def _dataset(pictures: list[Picture], names: list[str], ids: list[int]) -> dict[str, Any]:
    return {
        "images": [{"id": one.id, "height": one.height, "width": one.width} for one in pictures],
        "categories": [{"id": number, "name": name} for number, name in zip(ids, names, strict=True)],
        "annotations": [
            {"id": one.id, "image_id": picture.id, "category_id": ids[one.label], "bbox": list(one.box),
             "area": one.area, "iscrowd": int(one.crowd)}
            for picture in pictures for one in picture.instances
        ],
    }  # fmt: skip


def _agree(ours: Callable[[], Numbers], theirs: Callable[[], Numbers]) -> Equality:
    mine, other = ours(), theirs()
    apart = [_distance(mine[name], other[name]) for name in _STATS]
    return same("12 numbers", max(apart) < _CLOSE, f"AP {mine['ap']:.4f}, largest difference {max(apart):.0g}")


def _distance(one: float | None, other: float | None) -> float:
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    return abs(one - other)
