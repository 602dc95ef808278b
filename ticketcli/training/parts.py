"""A batch in parts that are computed one after the other, and how training lies in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ticketcli.tensors import ranks
from ticketcli.tensors.seeds import derive
from ticketcli.tensors.shown import Shown

Batch = tuple[Any, ...]


def n_images(batch: Batch) -> int:
    """Images in a batch: the first of what the loss is called with has one for each."""
    first = batch[0]
    return len(first.sizes) if isinstance(first, Shown) else len(first)


def parts_of(batch: Batch, micro_batch: int | None, share: float = 1.0) -> list[tuple[Batch, float]]:
    """A batch as (part, its share of the images), in order; parts differ in size by one image at most.

    Several processes make as many parts each, so that what they tell one another in the loss fits together; where a
    part is to have one image and the processes have unequal numbers of them, a part may have two.

    Args:
        batch: what the loss is called with: tensors with a row an image, `Shown`, and whole numbers, which are what
            a step draws with: each part but the first has one of its own.
        micro_batch: images in a part, at most; None for one part.
        share: this process's part of the batch of all processes.
    """
    n = n_images(batch)
    if micro_batch is None or n == 0:
        return [(batch, 1.0)]
    world = ranks.world()
    of_all = n if world == 1 else round(n / share)
    n_parts = min(math.ceil(math.ceil(of_all / world) / micro_batch), of_all // world)
    if n_parts == 1:
        return [(batch, 1.0)]
    cuts = [n * k // n_parts for k in range(n_parts + 1)]
    return [(some(batch, slice(a, b), number=k), (b - a) / n) for k, (a, b) in enumerate(pairwise(cuts))]


def some(batch: Batch, images: slice, *, number: int = 0) -> Batch:
    """Part `number` of a batch."""

    def cut(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[images]
        if isinstance(value, Shown):
            return value.part(images)
        assert isinstance(value, int), type(value)
        return value if number == 0 else derive(value, "part", number)

    return tuple(map(cut, batch))


@contextmanager
def laid_out(model: nn.Module, layout: str) -> Iterator[None]:
    """Inside the `with`, weights lie as the layout says; afterwards as they do everywhere else. No value changes."""
    if layout == "nchw":
        yield
        return
    model.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        model.to(memory_format=torch.contiguous_format)


def in_layout(batch: Batch, layout: str) -> Batch:
    """The images of a batch in the layout."""
    if layout == "nchw":
        return batch
    return tuple(_channels_last(value) for value in batch)


def _channels_last(value: Any) -> Any:
    if isinstance(value, Shown):
        return Shown(_channels_last(value.images), value.sizes, value.objects, value.indices)
    if isinstance(value, Tensor) and value.dim() == 4:
        return value.contiguous(memory_format=torch.channels_last)
    return value


def like_weights(optimizer: torch.optim.Optimizer) -> None:
    """Lay out what the optimiser keeps of each weight as the weight lies: files do not tell, and mixed is slow."""
    for weight, slots in optimizer.state.items():
        for name, value in slots.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                slots[name] = torch.empty_like(weight, dtype=value.dtype, requires_grad=False).copy_(value)
