"""What a network is worth: top-1 accuracy as exact counts, and how much of the image is left in its code."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ticketcli.events import Pause
from ticketcli.tensors.modes import evaluating

_FLOOR = 1e-10  # a perfect image counts 100 dB
Batch = tuple[Tensor, Tensor]


class Batches(Protocol):
    """Images [N, 3, H, W] in normalised units and labels [N], batch by batch, and how many batches there are."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


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
    encoder: Any, batches: Batches, rebuild: Rebuild | None = None, *, labelled: bool = True, what: str = "measuring"
) -> Generator[Pause, None, dict[str, Any]]:
    """Measure an encoder, in eval mode (every module's mode is restored, errors or not), each image seen once.

    Yields a pause after every batch, called `what`.

    Returns:
        n; of labelled images top1 in [0, 1] and correct; with `rebuild` also psnr (dB, with hints) and
        psnr_without_hints (t = 0, which exposes a decoder that lives on its hints): means over images of the PSNR,
        both images clipped to [0, 1].
    """
    correct = n = 0
    decibels = {"psnr": 0.0, "psnr_without_hints": 0.0}
    with evaluating(encoder) if rebuild is None else evaluating(encoder, rebuild.decoder):
        for done, (images, labels) in enumerate(batches, 1):
            taps, logits = encoder.taps_and_logits(images)
            correct += int((logits.argmax(dim=1) == labels).sum())
            n += len(labels)
            if rebuild is not None:
                wanted = rebuild.denormalize(images).clamp(0, 1)
                for name, t in (("psnr", rebuild.t), ("psnr_without_hints", 0.0)):
                    error = (rebuild.denormalize(rebuild.decoder(taps, t=t)).clamp(0, 1) - wanted).square()
                    decibels[name] += float(_decibels(error.mean(dim=(1, 2, 3))).sum())
            yield Pause(what, done, len(batches))
    found: dict[str, Any] = {"top1": correct / n, "correct": correct, "n": n} if labelled else {"n": n}
    if rebuild is not None:
        found |= {name: total / n for name, total in decibels.items()}
    return found


def _decibels(errors: Tensor) -> Tensor:
    return -10 * torch.log10(errors.double().clamp_min(_FLOOR))
