"""Layers pruned with compensation: against plain loops on small layers; and all layers of a ResNet-50.

The ResNet-50 has random weights, BatchNorms with factors of unlike sizes and the statistics of its own images, and
second moments from 1,024 synthetic images of 224 pixels, 64 output positions of each for every convolution. Where the
budget is short there are fewer images, which makes no difference to what a solve costs; the row says how many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.subjects import network
from ticketcli.criteria.layerwise.gram import Gram, GramAccumulator, gram_bytes
from ticketcli.criteria.layerwise.inverse import damped
from ticketcli.criteria.layerwise.layer import Pruned, prune_layer
from ticketcli.execution.machine import peak_memory
from ticketcli.tensors.seeds import generator
from ticketcli.training.recalibrate import recalibrate
from ticketcli.units import human_bytes

COMPARISONS = 7
_SIZES = ((64, 576), (128, 1152))  # outputs and inputs of 3x3 convolutions in a ResNet-50's first two stages
_SMALL = ((8, 36), (8, 72))
_SPARSITY = 0.8
_IMAGES, _LEAST_IMAGES, _POSITIONS, _BATCH = 1024, 64, 64, 16
_TOLD = 256  # images after which that is said
_GOAL = 60.0  # seconds of two cores
_SOLVED = ("lobs", "sparsegpt")
_ORDER = ("magnitude", "wanda", "lobs", "lobs_refit")  # of falling error
_CLOSE = 1e-6  # of the largest weight
Work = Callable[[], Tensor]


def run(job: BenchJob) -> Iterator[Row]:
    """Each method against the loop that its paper writes down; then all layers of a network."""
    for number, (o, d) in enumerate(_SIZES if job.full else _SMALL):
        weight, gram = _layer(o, d)
        for method, (loop, peer) in _LOOPS.items():
            if method == "obc" and number > 0:
                continue
            ours = partial(_pruned, weight, gram, method)
            theirs = partial(loop, weight, gram, ours().mask)
            what = f"{method}: {o} x {d} weights, {1 - _SPARSITY:.0%} kept"
            mine = partial(_weights, ours)
            yield job.compare(what, mine, peer, theirs, equality=partial(_agree, mine, theirs))
    yield from _network(job)


def _layer(o: int, d: int) -> tuple[Tensor, Gram]:
    """Random weights, and the moments of correlated inputs of unlike sizes, as a ReLU gives them."""
    draw = generator(0, "bench/lobs", o, d)
    mix = torch.randn(d, d, generator=draw) / d**0.5
    sizes = torch.randn(d, generator=draw).mul(0.5).exp()
    rows = F.relu(torch.randn(12 * d, d, generator=draw) @ mix + 0.3) * sizes
    adder = GramAccumulator(nn.Linear(d, o), positions=None, seed=0)
    adder.add(rows, 0)
    return torch.randn(o, d, generator=draw, dtype=torch.float64) / d**0.5, adder.finalize()


def _pruned(weight: Tensor, gram: Gram, method: str) -> Pruned:
    kept = weight.numel() - round(_SPARSITY * weight.numel())
    return prune_layer(weight, gram, method=method, kept=kept, centre=False)


def _weights(work: Callable[[], Pruned]) -> Tensor:
    return work().weight


def _agree(ours: Work, theirs: Work) -> Equality:
    mine, other = ours(), theirs()
    apart = float((mine - other).abs().max() / mine.abs().max())
    return same("weights", apart < _CLOSE, f"{apart:.0e} of the largest apart")


def _by_removals(weight: Tensor, gram: Gram, mask: Tensor) -> Tensor:
    """L-OBS's algorithm 1, a weight at a time."""
    inverse = damped(gram).inverse()[0]
    diagonal, moved = inverse.diagonal(), weight.clone()
    scores = weight.square() / diagonal
    for row in range(len(weight)):
        falls = (~mask[row]).nonzero()[:, 0]
        for place in falls[torch.sort(scores[row, falls], stable=True).indices].tolist():
            moved[row] -= moved[row, place] / diagonal[place] * inverse[place]
    return moved * mask


def _by_outputs(weight: Tensor, gram: Gram, mask: Tensor) -> Tensor:
    """The normal equations of each output."""
    matrix, found = damped(gram).matrix[0], torch.zeros_like(weight)
    for row in range(len(weight)):
        kept = mask[row].nonzero()[:, 0]
        found[row, kept] = torch.linalg.solve(matrix[kept][:, kept], matrix[kept] @ weight[row])
    return found


def _by_inputs(weight: Tensor, gram: Gram, mask: Tensor) -> Tensor:
    """SparseGPT without blocks: every error at once into all inputs that follow; the mask is given."""
    factor, moved = torch.linalg.cholesky(damped(gram).inverse()[0], upper=True), weight.clone()
    for place in range(weight.shape[1]):
        error = torch.where(mask[:, place], 0.0, moved[:, place] / factor[place, place])
        moved -= torch.outer(error, factor[place])
    return moved * mask


def _greedily(weight: Tensor, gram: Gram, mask: Tensor) -> Tensor:
    """OBC for one output after the other, its inverse brought down; how many fall of each is given."""
    whole, found = damped(gram).inverse()[0], torch.zeros_like(weight)
    for row in range(len(weight)):
        inverse, moved = whole.clone(), weight[row].clone()
        fallen = torch.zeros_like(mask[row])
        for _ in range(int((~mask[row]).sum())):
            scores = torch.where(fallen, float("inf"), moved.square() / inverse.diagonal())
            place = int(scores.argmin())
            column = inverse[place].clone()
            moved -= moved[place] / column[place] * column
            inverse -= torch.outer(column, column) / column[place]
            fallen[place], inverse[place, place] = True, 1.0
        found[row] = moved * ~fallen
    return found


_LOOPS: dict[str, tuple[Callable[[Tensor, Gram, Tensor], Tensor], str]] = {
    "lobs": (_by_removals, "algorithm 1, a weight at a time"),
    "lobs_refit": (_by_outputs, "normal equations, an output at a time"),
    "sparsegpt": (_by_inputs, "an input at a time"),
    "obc": (_greedily, "an output at a time"),
}


def _network(job: BenchJob) -> Iterator[Row]:
    """The solve for all layers, each method once; and that errors fall from method to method."""
    subject = network(job)
    model = subject.model.eval().to(memory_format=torch.channels_last)
    _settle(model, subject.side)
    layers = {name: part for name, part in model.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)}
    job.tell(f"{job.suite}: calibrating {len(layers)} layers")
    began, spent = time.perf_counter(), time.process_time()
    n_images, adders = _calibrated(job, model, layers, subject.side)
    after = f"{time.perf_counter() - began:.0f} s, {time.process_time() - spent:.0f} s of CPU"
    held = human_bytes(sum(gram_bytes(layer) for layer in layers.values()))
    told = f"calibration: {n_images:,} images, {_POSITIONS} positions each, {after}, {held} of moments"
    seconds, busy, errors = _solved(job, layers, adders)
    means = {method: sum(found) / len(found) for method, found in errors.items()}
    falling = all(means[one] > means[other] for one, other in pairwise(_ORDER))
    in_words = ", ".join(f"{method} {value:.3g}" for method, value in means.items())
    equality = same("mean relative errors fall", falling, in_words)
    for method in _SOLVED:
        what = f"{method}: all {len(layers)} layers of {subject.arch}, {1 - _SPARSITY:.0%} kept"
        note = f"{busy[method]:.0f} s of CPU; {told}; peak of the process {human_bytes(peak_memory())}"
        yield job.counted(what, seconds[method], "the goal", _GOAL, equality=equality, unit="s",
                          goal=Goal("cost", 1), note=note)  # fmt: skip


def _images(first: int, n: int, side: int) -> Tensor:
    """Smooth random images with some noise, as photographs are, by number."""
    draw = generator(0, "bench/lobs/images", first)
    smooth = F.interpolate(torch.randn(n, 3, side // 4, side // 4, generator=draw), scale_factor=4.0, mode="bilinear")
    return smooth + 0.3 * torch.randn(smooth.shape, generator=draw)


@torch.no_grad()
def _settle(model: nn.Module, side: int) -> None:
    """Channels of unlike sizes, as trained networks have them, and statistics under which none grows with depth."""
    draw = generator(0, "bench/lobs/norms")
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.copy_(torch.randn(part.weight.shape, generator=draw).mul(0.5).exp())
    for _ in recalibrate(model, [(_images(-1, _BATCH, side), torch.zeros(_BATCH))]):
        pass


@torch.no_grad()
def _calibrated(
    job: BenchJob, model: nn.Module, layers: dict[str, nn.Conv2d | nn.Linear], side: int
) -> tuple[int, dict[str, GramAccumulator]]:
    """Second moments of all layers in one pass; how many images there was time for, half of the suite's."""
    adders = {name: GramAccumulator(layer, positions=_POSITIONS, seed=0) for name, layer in layers.items()}
    first = 0

    def add(name: str, _module: nn.Module, given: tuple[Tensor, ...]) -> None:
        adders[name].add(given[0], first)

    hooks = [layer.register_forward_pre_hook(partial(add, name)) for name, layer in layers.items()]
    least, most = (_LEAST_IMAGES, _IMAGES) if job.full else (4 * _BATCH, job.sized(_IMAGES, at_least=4 * _BATCH))
    ends = job.clock() + job.seconds * COMPARISONS / 2
    while first < most and (first < least or job.clock() < ends):
        n = min(_BATCH, most - first)
        model(_images(first, n, side).contiguous(memory_format=torch.channels_last))
        first += n
        if first % _TOLD == 0:
            job.tell(f"{job.suite}: {first:,} of {most:,} images")
    for hook in hooks:
        hook.remove()
    return first, adders


def _solved(
    job: BenchJob, layers: dict[str, nn.Conv2d | nn.Linear], adders: dict[str, GramAccumulator]
) -> tuple[dict[str, float], dict[str, float], dict[str, list[float]]]:
    """Seconds and seconds of CPU of all layers, and each one's relative error, by method."""
    methods = dict.fromkeys((*_ORDER, *_SOLVED))
    seconds, busy = dict.fromkeys(methods, 0.0), dict.fromkeys(methods, 0.0)
    errors: dict[str, list[float]] = {method: [] for method in methods}
    job.tell(f"{job.suite}: pruning {len(layers)} layers by {', '.join(methods)}")
    for name, layer in layers.items():
        gram = adders.pop(name).finalize()
        kept = layer.weight.numel() - round(_SPARSITY * layer.weight.numel())
        for method in methods:
            began, spent = time.perf_counter(), time.process_time()
            found = prune_layer(layer.weight, gram, method=method, kept=kept, centre=True)
            seconds[method] += time.perf_counter() - began
            busy[method] += time.process_time() - spent
            errors[method].append(found.report.relative)
    return seconds, busy, errors
