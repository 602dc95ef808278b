"""The compact network beside its dense one: is it quicker by as much as it has fewer multiply-adds?

Channels fall in each layer by the norm of their filters, rounded to multiples of 16, as is good for speed: first
those inside blocks, then those of residual sums, too. Both networks are timed as they are, with folded BatchNorms and
channels last, and in ONNX Runtime. What is timed has random values; that costs the same.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.subjects import Subject, batch_of, network
from ticketcli.bench.table import HOW
from ticketcli.channels import compact as smaller
from ticketcli.channels.choice import drop_lowest
from ticketcli.channels.graph import channel_graph
from ticketcli.channels.masks import expanded
from ticketcli.channels.scores import filter_norms, scales
from ticketcli.models.architectures import masked_parameters
from ticketcli.models.cost import cost_of
from ticketcli.models.encoder import Encoder
from ticketcli.runtimes.onnx_graph import NEEDS, to_onnx
from ticketcli.runtimes.outputs import Work, folded_last, logits_of
from ticketcli.runtimes.session import Session
from ticketcli.tensors.masking import MaskedWeights
from ticketcli.tensors.seeds import generator

SHARE = 0.85  # of the ratio of multiply-adds that the speed-up should come to
_SUBJECTS = (("resnet50", 0.3, True, (1, 16)), ("resnet50", 0.5, False, (1, 16)), ("resnet56", 0.45, False, (16,)))
_MULTIPLE = 16
_TOLERANCE = 1e-4  # of the largest output, in float32


def run(job: BenchJob) -> Iterator[Row]:
    """Each network in torch, and those for ImageNet in ONNX Runtime, too."""
    for arch, fraction, residual, batches in _SUBJECTS:
        subject = network(job, arch)
        masked, small = _pair(subject, fraction, residual)
        ratio = _macs(subject.model, subject.side) / _macs(small, subject.side)
        for batch in batches if job.full else (2,):
            images, _ = batch_of(job, batch, subject.side, 10)
            where = "" if residual else "inner "
            what = f"{subject.arch} without {fraction:.0%} of its {where}channels, batch {batch}, {subject.side} px"
            note = f"{ratio:.2f} times fewer multiply-adds; the goal is {SHARE:.0%} of that"
            goal = Goal("faster", SHARE * ratio)
            equality = partial(_equal, masked, small, images)
            yield job.compare(
                what, partial(_forward, small, images), "dense, torch", partial(_forward, subject.model, images),
                equality=equality, goal=goal, note=note,
            )  # fmt: skip
            if batches == (1, 16):
                quick, dense = (folded_last(logits_of(one, subject.side)) for one in (small, subject.model))
                yield job.compare(
                    f"{what}, both folded", partial(quick, images), "dense, torch, folded", partial(dense, images),
                    equality=partial(_agree, masked, quick, images), goal=goal, note=note,
                )  # fmt: skip
                yield _in_onnxruntime(job, what, (subject, small), images, equality(), note)


def _pair(subject: Subject, fraction: float, residual: bool) -> tuple[Encoder, Encoder]:
    """The masked network, and the smaller one."""
    model = _lived(subject.model)
    graph = channel_graph(model, residual=residual)
    norms = filter_norms(model, graph, order=1)
    channels = drop_lowest(norms, scales(model, graph), fraction, multiple=_MULTIPLE)
    masked, mask = copy.deepcopy(model), expanded(model, graph, channels)
    MaskedWeights(masked_parameters(masked, mask), mask).apply()
    return masked, smaller.compact(model, channels, graph=graph)


@torch.no_grad()
def _lived(model: Encoder) -> Encoder:
    """Shifts and statistics as after a training, so that a channel which is left behind would be seen."""
    draw = generator(0, "bench/compact")
    for part in model.eval().modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None:
            part.bias.copy_(0.1 * torch.randn(part.num_features, generator=draw))
            part.running_mean.copy_(0.1 * torch.randn(part.num_features, generator=draw))
    return model


def _in_onnxruntime(
    job: BenchJob, what: str, both: tuple[Subject, Encoder], images: Tensor, equality: Equality, note: str
) -> Row:
    peer = "dense, ONNX Runtime"
    if any(importlib.util.find_spec(name) is None for name in NEEDS):
        return job.absent(f"{what}, both in ONNX Runtime", peer, f"not installed: {HOW['onnxruntime']}")
    subject, small = both
    ours, theirs = (
        Session(to_onnx(logits_of(one, subject.side), None, where="bench").SerializeToString(), torch.get_num_threads())
        for one in (small, subject.model)
    )
    given = images.cpu().numpy()

    def agrees() -> Equality:
        gap = float((torch.from_numpy(ours(given)[0]) - _forward(small, images).cpu()).abs().max())
        return equality if not equality.holds else same("logits", gap <= _TOLERANCE * 10, f"largest gap {gap:.1g}")

    return job.compare(
        f"{what}, both in ONNX Runtime", partial(ours, given), peer, partial(theirs, given), equality=agrees, note=note
    )


@torch.inference_mode()
def _forward(model: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = model(images)
    return found


def _equal(masked: Encoder, small: Encoder, images: Tensor) -> Equality:
    """The masked network's outputs: the dense one's are others, for its channels are not gone."""
    whole, few = _forward(masked, images), _forward(small, images)
    gap = float((whole - few).abs().max() / whole.abs().max())
    return same("logits of the masked network", gap <= _TOLERANCE, f"largest difference {gap:.1g} of the largest")


def _agree(masked: Encoder, quick: Work, images: Tensor) -> Equality:
    gap = float((quick(images)[0] - _forward(masked, images)).abs().max())
    return same("logits of the masked network", gap <= _TOLERANCE * 10, f"largest gap {gap:.1g}")


def _macs(model: Encoder, side: int) -> int:
    return cost_of(model, side)["macs"]
