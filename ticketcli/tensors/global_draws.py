"""Drawing by way of torch's global generators, for code that knows no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def global_draws(key: int, device: torch.device) -> Iterator[None]:
    """Inside the `with`, the global generators of the CPU and of `device` start at `key`; then they are as before.

    So whatever draws from them in there is a function of `key`, and nobody outside sees that it drew.

    Args:
        key: see `seeds.derive`.
        device: where tensors lie; generators of other devices are left alone.
    """
    cuda: list[int] = []
    if device.type == "cuda":
        cuda = [torch.cuda.current_device() if device.index is None else device.index]
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(key % 2**63)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(key % 2**63)
        yield
