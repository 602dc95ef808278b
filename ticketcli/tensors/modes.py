"""Eval mode for a while: every module's own mode is put back, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Put the networks into eval mode inside the `with`; afterwards every part has the mode it had, errors or not.

    `network.train(mode)` would not do: it wakes parts that were frozen on purpose, such as a BatchNorm in eval mode.
    """
    modes = [(part, part.training) for network in networks for part in network.modules()]
    try:
        for network in networks:
            network.eval()
        yield
    finally:
        for part, mode in modes:
            part.training = mode
