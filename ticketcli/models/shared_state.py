"""One memory for all states of a GUNN layer: what reads a state keeps no copy of it for the gradients.

A layer of S units that concatenates its segments for each of them keeps S copies of all channels. But two states that
follow each other differ in one segment, of which both values are there anyway. So one buffer is written to, a segment
at a time, on the way through the units; on the way back what was there before is written again.

Values and gradients are those of `torch.cat`, bit by bit: nothing is computed otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks


class SharedState:
    """The states of a layer in one pass of it.

    Args:
        x: the state before all updates, [N, C, h, w].
        sizes: of its segments.
        dtype: of the states, as units are to read them.
    """

    def __init__(self, x: Tensor, sizes: Sequence[int], dtype: torch.dtype) -> None:
        self._buffer = x.detach().to(dtype, copy=True)
        self._views = torch.split(self._buffer, list(sizes), dim=1)
        self._before = torch.split(x.detach(), list(sizes), dim=1)
        self._after: list[Tensor] = []  # of the segments that are updated
        self._shown = 0  # how many segments of the buffer are updated ones

    @contextmanager
    def state(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        """The segments as they are now, put together: [N, C, h, w], valid until the next state is asked for.

        Within, whoever saves the state for its gradient saves how to come by it instead.

        Args:
            pieces: all segments; since the last call one more was updated. Nobody may change them in place.
        """
        place = len(self._after)
        found: Tensor = _Shown.apply(self, place, *pieces)
        mark = (found.data_ptr(), found.shape, found.stride())

        def pack(saved: Tensor) -> Any:
            is_state = (saved.data_ptr(), saved.shape, saved.stride()) == mark
            return place if is_state else saved.detach()  # a result that knows its graph, in that graph, is never freed

        def unpack(kept: Any) -> Tensor:
            return kept if isinstance(kept, Tensor) else self.show(kept)

        with saved_tensors_hooks(pack, unpack):
            yield found

    def update(self, piece: Tensor) -> None:
        """The next segment is this from now on."""
        self._after.append(piece.detach())

    def show(self, place: int) -> Tensor:
        """The state that unit `place` reads; what was shown before is gone."""
        while self._shown < place:
            self._views[self._shown].copy_(self._after[self._shown])
            self._shown += 1
        while self._shown > place:
            self._shown -= 1
            self._views[self._shown].copy_(self._before[self._shown])
        return self._buffer.detach()


class _Shown(torch.autograd.Function):
    """What `torch.cat` of the segments gives, in the memory that all states share."""

    @staticmethod
    def forward(ctx: Any, shared: SharedState, place: int, *pieces: Tensor) -> Tensor:
        ctx.sizes, ctx.dtype = [piece.shape[1] for piece in pieces], pieces[0].dtype
        return shared.show(place)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *torch.split(gradient.to(ctx.dtype), ctx.sizes, dim=1)
