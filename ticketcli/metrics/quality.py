"""What a network is worth: top-1 accuracy as exact counts, and how much of the image is left in its code."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ticketcli.events import Pause
from ticketcli.tensors.modes import evaluating
from ticketcli.tensors.turns import Batches, in_turns

_FLOOR = 1e-10  # a perfect image counts 100 dB
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Rebuild:
    """How to judge a reconstruction.

    Attributes:
        decoder: taps and `t` -> images [N, 3, H, W] in normalised units.
        denormalize: normalised units -> units where black is 0 and white is 1.
        t: share of the hints.
    """

    decoder: Any
    denormalize: Callable[[Tensor], Tensor]
    t: float


@torch.no_grad()
def quality(
    encoder: Any,
    batches: Batches[Batch],
    rebuild: Rebuild | None = None,
    *,
    labelled: bool = True,
    what: str = "measuring",
) -> Generator[Pause, None, dict[str, Any]]:
    """Measure an encoder, in eval mode (every module's mode is restored, errors or not), each image seen once.

    Yields pauses between the batches, called `what`; several processes take them in turns.

    Args:
        encoder: with taps and logits.
        batches: images [N, 3, H, W] in normalised units and labels [N].
        rebuild: how to judge a reconstruction; None measures none.
        labelled: whether the labels mean something to this encoder.
        what: for people.

    Returns:
        n; of labelled images top1 in [0, 1] and correct; with `rebuild` also psnr (dB, with hints) and
        psnr_without_hints (t = 0, which exposes a decoder that lives on its hints): means over images of the PSNR,
        both images clipped to [0, 1].
    """

    def measure(batch: Batch) -> tuple[int, int, list[float]]:
        """Images, right ones among them, and the sums of decibels with and without hints."""
        images, labels = batch
        taps, logits = encoder.taps_and_logits(images)
        correct, decibels = int((logits.argmax(dim=1) == labels).sum()), []
        if rebuild is not None:
            wanted = rebuild.denormalize(images).clamp(0, 1)
            for t in (rebuild.t, 0.0):
                error = (rebuild.denormalize(rebuild.decoder(taps, t=t)).clamp(0, 1) - wanted).square()
                decibels.append(float(_decibels(error.mean(dim=(1, 2, 3))).sum()))
        return len(labels), correct, decibels

    with evaluating(encoder) if rebuild is None else evaluating(encoder, rebuild.decoder):
        parts = yield from in_turns(batches, measure, what)
    n, correct = sum(part[0] for part in parts), sum(part[1] for part in parts)
    found: dict[str, Any] = {"top1": correct / n, "correct": correct, "n": n} if labelled else {"n": n}
    if rebuild is not None:
        for place, name in enumerate(("psnr", "psnr_without_hints")):
            found[name] = sum(part[2][place] for part in parts) / n
    return found


def _decibels(errors: Tensor) -> Tensor:
    return -10 * torch.log10(errors.double().clamp_min(_FLOOR))
