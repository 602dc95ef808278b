"""How much of the image is left in the code: peak signal-to-noise ratio of the rebuilt image."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_FLOOR = 1e-10  # a perfect image counts 100 dB


@torch.no_grad()
def psnr(
    encoder: Any,
    decoder: Any,
    batches: Iterable[tuple[Tensor, Tensor]],
    denormalize: Callable[[Tensor], Tensor],
    *,
    t: float,
) -> float:
    """Mean over images of the PSNR in dB, both images de-normalised and clipped to [0, 1]; eval mode, restored.

    Args:
        encoder: has `taps`, images [N, 3, H, W] -> name -> tap.
        decoder: taps and `t` -> images [N, 3, H, W] in normalised units.
        batches: normalised images and labels.
        denormalize: to units where black is 0 and white is 1.
        t: share of the hints; 0 shows what the code alone holds.
    """
    modes = encoder.training, decoder.training
    encoder.eval()
    decoder.eval()
    total, n = 0.0, 0
    for images, _ in batches:
        rebuilt = denormalize(decoder(encoder.taps(images), t=t)).clamp(0, 1)
        error = (rebuilt - denormalize(images).clamp(0, 1)).square().mean(dim=(1, 2, 3)).clamp_min(_FLOOR)
        total += float((-10 * torch.log10(error)).double().sum())
        n += len(images)
    encoder.train(modes[0])
    decoder.train(modes[1])
    return total / n
