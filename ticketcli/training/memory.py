"""A step that does not fit into memory: noticed, and answered with what would fit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ticketcli.errors import OutOfMemory

_WORDS = ("DefaultCPUAllocator", "can't allocate memory", "out of memory")
_SLOTS = {"sgd": 1, "adamw": 2}  # copies of the weights that the optimiser keeps


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is what torch or Python say when memory is refused. A system that kills says nothing."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def largest_that_fits(model: nn.Module, learn: Callable[[int], None], n: int, *, optimizer: str) -> int:
    """Half of `n` images, a quarter and so on, until so many can be learnt from: really tried; 0 if not even one.

    What the optimiser will keep is held meanwhile, so that its first step fits too. Gradients and the statistics of
    BatchNorm are spoilt: this is for a training that ends.

    Args:
        model: what learns.
        learn: computes the gradients of that many images.
        n: images that did not fit.
        optimizer: which will come to keep something of each weight.
    """
    while n > 1:
        n //= 2
        if _fits(model, learn, n, _SLOTS[optimizer]):
            return n
    return 0


def _fits(model: nn.Module, learn: Callable[[int], None], n: int, n_slots: int) -> bool:
    model.zero_grad(set_to_none=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        kept = [torch.empty_like(weight) for weight in weights for _ in range(n_slots)]
        learn(n)
        del kept
    except (RuntimeError, MemoryError, ValueError):  # too few images for BatchNorm are a ValueError
        return False
    finally:
        model.zero_grad(set_to_none=True)
    return True


def does_not_fit(n: int, fits: int, *, where: str, tried: bool) -> OutOfMemory:
    """The error for people.

    Args:
        n: images that were computed at once.
        fits: so many would fit; 0 if none.
        where: what was under way.
        tried: whether they were.
    """
    what = f"{n} images at once do not fit into memory" if n > 1 else "not even one image fits into memory"
    if fits:
        said = "which fits here, as was tried" if tried else "or less"
        hint = f"micro_batch: {fits}, {said}; steps keep their batch, whose gradients are added up"
    else:
        hint = "smaller images, precision: bf16, or a device with more memory"
    return OutOfMemory(what, where=where, hint=hint)
