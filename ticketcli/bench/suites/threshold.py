"""Which weights are smallest: the same fifth of all weights, found in five ways. Everybody has to end with masks."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import prune

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.memory import extra_memory
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.run import missing
from ticketcli.bench.subjects import everything, millions, network, sparse
from ticketcli.models.encoder import Encoder
from ticketcli.store.mask import Mask
from ticketcli.tensors.select import drop_smallest

_FRACTION = 0.2
_LATER = 0.59  # sparsity of a later round
_MEMORY = 0.05  # share of the data
_COUNTED_OTHERWISE = 2  # weights: NNCF drops one more, and those that tie
Masks = Mapping[str, NDArray[np.bool_]]


def run(job: BenchJob) -> Iterator[Row]:
    """Times against numpy's and torch's ways, at the first round and at a later one; and the memory that it takes."""
    subject = network(job)
    values = subject.values()
    mask = everything(values)
    count = round(_FRACTION * mask.kept)
    what = f"drop a fifth of {millions(values)} weights ({subject.arch})"
    ours = partial(drop_smallest, values, mask, fraction=_FRACTION)
    peers: dict[str, tuple[Callable[[], Masks], Goal | None]] = {
        "np.partition": (partial(_by_numpy, values, count, _partitioned), Goal("faster", 2)),
        "torch.kthvalue": (partial(_by_kthvalue, values, count), Goal("faster", 7)),
        "open_lth-style (np.sort)": (partial(_by_numpy, values, count, _sorted), None),
        "torch.nn.utils.prune (topk)": (partial(_by_topk, values, count), None),
    }
    if job.device.type == "cuda":
        peers = {name: peer for name, peer in peers.items() if name.startswith("torch")}
    for peer, (theirs, goal) in peers.items():
        yield job.compare(what, ours, peer, theirs, equality=partial(_agree, values, ours, theirs), goal=goal)
    if job.device.type == "cuda":
        return
    yield _nncf(job, subject.model)
    later = sparse(values, _LATER)
    lived = round(_FRACTION * later.kept)
    yield job.compare(
        f"the same with {later.sparsity:.0%} masked already",
        again := partial(drop_smallest, values, later, fraction=_FRACTION),
        "np.partition of the living",
        other := partial(_by_numpy_masked, values, later, lived),
        equality=partial(_agree, values, again, other),
    )
    yield _memory(job, values, ours, mask)


def _nncf(job: BenchJob, model: Encoder) -> Row:
    """NNCF, which takes stem and head, too, and whose masks are others: it ranks by magnitude over the layer's norm."""
    what, peer = "the same, with stem and head", "NNCF (over the layer's norm)"
    if missing("nncf"):
        return job.absent(what, peer, "not installed: pip install nncf")
    nncf = importlib.import_module("nncf")
    algo = importlib.import_module("nncf.torch.function_hook.pruning.magnitude.algo")
    mode = nncf.PruneMode.UNSTRUCTURED_MAGNITUDE_GLOBAL
    pruned = copy.deepcopy(model).eval()
    pruned = nncf.prune(pruned, mode, ratio=_FRACTION, examples_inputs=torch.zeros(1, 3, 64, 64))  # an image, to trace
    hooks = algo.get_pruned_modules(pruned)
    values = {name: model.get_parameter(name).detach() for name in hooks}
    mask = everything(values)

    def agree() -> Equality:
        scaled = {name: value.abs() / value.norm(2) for name, value in values.items()}
        mine = drop_smallest(scaled, mask, fraction=_FRACTION)
        apart = sum(int((array != hooks[name].binary_mask.numpy()).sum()) for name, array in mine.items())
        return same("masks of equally scaled weights", apart <= _COUNTED_OTHERWISE, f"{apart} of {mask.total:,} apart")

    return job.compare(
        what, partial(drop_smallest, values, mask, fraction=_FRACTION), peer,
        partial(algo.update_pruning_ratio, pruned, mode, _FRACTION), equality=agree,
    )  # fmt: skip


def _memory(job: BenchJob, values: Mapping[str, Tensor], ours: Callable[[], Mask], mask: Mask) -> Row:
    what, peer, goal = "memory beside the new mask", "the weights", Goal("cost", _MEMORY)
    data = sum(value.nbytes for value in values.values())
    kept = ours().kept
    equality = same("weights left", kept == mask.total - round(_FRACTION * mask.total), f"{kept:,}")
    return job.counted(what, max(1, extra_memory(ours) - mask.total), peer, data, equality=equality, goal=goal)


def _agree(values: Mapping[str, Tensor], ours: Callable[[], Mask], theirs: Callable[[], Masks]) -> Equality:
    """The same masks, but for weights that tie with the largest that fell: there peers drop all, or any."""
    mine, other = ours(), theirs()
    values = {name: value.cpu() for name, value in values.items()}
    fallen = max(float(values[name].numpy()[~array].__abs__().max(initial=0.0)) for name, array in mine.items())
    differ = [np.abs(values[name].numpy()[array != other[name]]) for name, array in mine.items()]
    apart = np.concatenate(differ)
    return same(
        "masks", bool((apart == fallen).all()), f"{mine.kept:,} left" + f", {apart.size} ties" * bool(apart.size)
    )


def _flat(values: Mapping[str, Tensor]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.abs(np.concatenate([value.numpy().reshape(-1) for value in values.values()]))
    return found


def _partitioned(magnitudes: NDArray[np.float32], count: int) -> float:
    return float(np.partition(magnitudes, count - 1)[count - 1])


def _sorted(magnitudes: NDArray[np.float32], count: int) -> float:
    return float(np.sort(magnitudes)[count - 1])


def _by_numpy(
    values: Mapping[str, Tensor], count: int, rank: Callable[[NDArray[np.float32], int], float]
) -> dict[str, NDArray[np.bool_]]:
    """All magnitudes in one array, the threshold, a comparison for each layer: what open_lth does, with np.sort."""
    threshold = rank(_flat(values), count)
    return {name: np.abs(value.numpy()) > threshold for name, value in values.items()}


def _by_numpy_masked(values: Mapping[str, Tensor], mask: Mask, count: int) -> dict[str, NDArray[np.bool_]]:
    living = np.abs(np.concatenate([value.numpy()[mask[name]] for name, value in values.items()]))
    threshold = _partitioned(living, count)
    return {name: (np.abs(value.numpy()) > threshold) & mask[name] for name, value in values.items()}


def _by_kthvalue(values: Mapping[str, Tensor], count: int) -> dict[str, NDArray[np.bool_]]:
    """What NNCF does."""
    magnitudes = torch.cat([value.abs().view(-1) for value in values.values()])
    threshold = magnitudes.kthvalue(count).values
    return {name: (value.abs() > threshold).cpu().numpy() for name, value in values.items()}


def _by_topk(values: Mapping[str, Tensor], count: int) -> dict[str, NDArray[np.bool_]]:
    """Torch's own global_unstructured, which works on one vector of all parameters."""
    vector = torch.nn.utils.parameters_to_vector(list(values.values()))
    whole = prune.L1Unstructured(amount=count).compute_mask(vector, torch.ones_like(vector))  # type: ignore[no-untyped-call]
    found, place = {}, 0
    for name, value in values.items():
        found[name] = whole[place : place + value.numel()].view_as(value).cpu().numpy() > 0
        place += value.numel()
    return found
