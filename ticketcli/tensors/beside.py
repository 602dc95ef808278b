"""Work of a thread on tensors of a GPU, beside what the main thread has the GPU do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Moment:
    """When a GPU has done all that it was told so far."""

    device: torch.device
    event: torch.cuda.Event


def moment_on(device: torch.device) -> Moment | None:
    """The present moment of a GPU; None for other devices, which have done what they were told."""
    return Moment(device, torch.cuda.current_stream(device).record_event()) if device.type == "cuda" else None


@contextmanager
def beside(moment: Moment | None) -> Iterator[None]:
    """Inside the `with`, this thread's copies from the GPU wait for that moment, and for nothing that comes later."""
    if moment is None:
        yield
        return
    stream = torch.cuda.Stream(moment.device)  # type: ignore[no-untyped-call]
    stream.wait_event(moment.event)
    with torch.cuda.stream(stream):
        yield
