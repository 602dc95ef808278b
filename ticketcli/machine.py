"""The machine as a run meets it: the device, what results may depend on, memory, and speed."""

from __future__ import annotations

import platform
import resource
import sys
import time
from typing import Any

import torch

from ticketcli import __version__
from ticketcli.errors import UsageError
from ticketcli.events import Progress
from ticketcli.tensors import ranks


def pick_device(name: str) -> torch.device:
    """The device to compute on; where several processes work together, each has a GPU of its own.

    Raises:
        UsageError: no such device here, or fewer than processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if ranks.world() > 1 and name.startswith("cuda"):
        name = _own_gpu(name)
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"cannot compute on '{name}': {str(error).splitlines()[0]}", where="--device", hint="--device cpu"
        ) from None
    return device


def _own_gpu(name: str) -> str:
    """The name of the GPU that is this process's among those of its machine."""
    if name != "cuda":
        raise UsageError(f"{ranks.world()} processes cannot share '{name}'", where="--device", hint="--device cuda")
    own, there = ranks.local_rank(), torch.cuda.device_count()
    if torch.cuda.is_available() and own >= there:
        what = f"{there} GPUs are here, and no one is left for process {own + 1}"
        raise UsageError(what, where="--device", hint=f"--nproc {there}, or --device cpu")
    return f"cuda:{own}"


def environment(device: torch.device) -> dict[str, Any]:
    """What else a result's last bits can depend on; recorded, never part of a key."""
    return {
        "ticketcli": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": ranks.world(),
        "peak_memory": peak_memory(),
        **({"peak_gpu_memory": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {}),
    }


def peak_memory() -> int:
    """The most bytes of memory that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Speedometer:
    """Images a second of a training, its first step left out."""

    def __init__(self) -> None:
        self.batch = 0
        self.first: tuple[float, int] | None = None
        self.last: tuple[float, int] | None = None

    def on(self, event: object) -> None:
        """Note when a step was finished."""
        if isinstance(event, Progress) and event.batch:
            self.batch = event.batch
            if self.last is None or event.done < self.last[1]:  # another training
                self.first = time.monotonic(), event.done
            self.last = time.monotonic(), event.done

    def read(self) -> float | None:
        """Images a second of the last training; None for fewer than two steps. Begins anew."""
        first, last = self.first, self.last
        self.first = self.last = None
        if first is None or last is None or last[1] == first[1]:
            return None
        return round((last[1] - first[1]) * self.batch / (last[0] - first[0]), 1)
