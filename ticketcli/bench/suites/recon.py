"""Reconstruction steps, as the stages make them, against gradients everywhere.

Ours asks for gradients only where somebody learns, multiplies BatchNorms that stand still into the convolutions before
them, and keeps the memory that tensors free; the peer does nothing of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.bench.apart import Apart
from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row, Setting
from ticketcli.bench.subjects import batch_of, network
from ticketcli.execution.machine import pick_device
from ticketcli.models.decoder import build_decoder
from ticketcli.models.folding import folded
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.stages.objective import Objective

_BATCH, _T, _HINTS = 16, 0.1, ("layer3", "layer4")  # of fewer, a lone thread computes 1x1 convolutions without oneDNN
_COMPARED = 4  # images, in float64
_GOAL = Goal("cost", 0.70)
_CLOSE = 1e-6  # relative, in float64: folding rounds otherwise, and a batch of four makes much of it
_APART = "import sys; from ticketcli.bench.suites.recon import serve; serve(*sys.argv[1:])"
Named = dict[str, Tensor]


def run(job: BenchJob) -> Iterator[Row]:
    """Stage ii, where the encoder learns and the decoder is frozen; stage i, where it is the other way round."""
    for what, stage in (("stage ii, decoder frozen", "second"), ("stage i, encoder without grad", "first")):
        exact, timed = _Steps(job, torch.float64, _COMPARED), job.sized(_BATCH, at_least=2)
        words = job.setting.scale, job.device, torch.get_num_threads(), stage
        with Apart(_APART, *words, True) as ours, Apart(_APART, *words, False) as theirs:
            yield job.compare(
                f"a step of {what}: {exact.arch}, batch {timed}, {exact.side} px", ours.go, "all gradients", theirs.go,
                equality=partial(_agree, getattr(exact, stage)), goal=_GOAL,
                note=f"compared in float64, {len(exact.images)} images; timed in fp32, each in a process of its own",
            )  # fmt: skip


def serve(scale: str, device: str, threads: str, stage: str, frozen: str) -> None:
    """A step for each line of the input."""
    torch.set_num_threads(int(threads))
    if frozen == "True":
        pick_device(device)  # as every command does, which has the memory kept
    setting = Setting("", 0, {}, float(scale))
    job = BenchJob("recon", setting, Path(), 0.0, device=torch.device(device))
    step = getattr(_Steps(job, torch.float32, _BATCH), stage)
    for _ in sys.stdin:
        step(frozen == "True")
        if device != "cpu":
            torch.cuda.synchronize()
        print("done", flush=True)


class _Steps:
    """Steps of both stages, as we make them and as they come without a thought."""

    def __init__(self, job: BenchJob, dtype: torch.dtype, batch: int) -> None:
        subject = network(job)
        self.encoder = subject.model
        self.decoder = build_decoder(self.encoder, image_size=subject.side, hints=_HINTS, width=1.0, seed=0)
        self.decoder.to(job.device)
        self.encoder.to(dtype).eval()
        self.decoder.to(dtype).eval()
        self.frozen_encoder, self.frozen_decoder = folded(self.encoder), folded(self.decoder)
        images, self.labels = batch_of(job, job.sized(batch, at_least=2), subject.side, 10)
        self.images, self.arch, self.side = images.to(dtype), subject.arch, subject.side

    def second(self, frozen: bool) -> Named:
        """Stage ii: the encoder's gradients of both losses."""
        self.encoder.train()
        decoder = self.frozen_decoder if frozen else self.decoder.eval()
        objective = Objective(PruneConfig.parse({}, where="bench"), self.encoder, decoder, _T, None)
        return self._gradients(self.encoder, lambda: objective(self.images, self.labels)["loss"])

    def first(self, frozen: bool) -> Named:
        """Stage i: the decoder's gradients of the reconstruction."""
        encoder, decoder = self.frozen_encoder if frozen else self.encoder.eval(), self.decoder.train()
        return self._gradients(self.decoder, lambda: _rebuilt(encoder, decoder, self.images, frozen))

    def _gradients(self, learner: nn.Module, loss: Callable[[], Tensor]) -> Named:
        """Forward and backward; the gradients of whom learns."""
        for one in (self.encoder, self.decoder):
            one.zero_grad(set_to_none=True)
        loss().backward()  # type: ignore[no-untyped-call]
        return {name: weight.grad for name, weight in learner.named_parameters() if weight.grad is not None}


def _rebuilt(encoder: nn.Module, decoder: nn.Module, images: Tensor, frozen: bool) -> Tensor:
    with torch.set_grad_enabled(not frozen):
        taps = encoder.taps(images)  # type: ignore[operator]
    return F.mse_loss(decoder(taps, t=_T), images)


def _agree(step: Callable[[bool], Named]) -> Equality:
    """The learner's gradients, to a relative difference that the order of sums explains."""
    found = [{name: value.clone() for name, value in step(frozen).items()} for frozen in (True, False)]
    alike = found[0].keys() == found[1].keys() and len(found[0]) > 0
    worst = max((_apart(found[0][name], found[1][name]) for name in found[0].keys() & found[1].keys()), default=0.0)
    return same("gradients", alike and worst < _CLOSE, f"largest difference {worst:.1g}")


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm().clamp_min(1e-12))
