"""The machine as a run meets it: the device, what results may depend on, memory, and speed."""

from __future__ import annotations

import ctypes
import platform
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch

from ticketcli import __version__
from ticketcli.checks.software import fast_bf16
from ticketcli.errors import UsageError
from ticketcli.events import Progress
from ticketcli.recipe.computing import StageConfig
from ticketcli.recipe.configs import Training
from ticketcli.tensors import ranks

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEEPING = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: 2**31 - 1}  # bytes


def pick_device(name: str) -> torch.device:
    """The device to compute on; where several processes work together, each has a GPU of its own.

    On a CPU, freed memory is kept from here on: see `keep_freed_memory`.

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
    if device.type == "cpu":
        keep_freed_memory()
    return device


def keep_freed_memory() -> None:
    """Have the process keep what tensors free, for the next ones, instead of handing it back and asking anew.

    The system fills each page that it hands out with zeros, in every step again, which `ticket bench step` measures.
    The peak of memory was about the same where it was looked at. Only glibc can be asked; elsewhere nothing happens.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for what, size in _KEEPING.items():
            mallopt(what, size)


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
        **({} if (gpu := peak_gpu_memory(device)) is None else {"peak_gpu_memory": gpu}),
    }


ConfigT = TypeVar("ConfigT", bound=StageConfig)


def settled(config: ConfigT, device: torch.device, *, before: str = "") -> ConfigT:
    """The settings with `precision: auto` replaced by what it stands for on this machine.

    Args:
        config: of any stage.
        device: that it computes on.
        before: what the step has settled on already; it stays with that, wherever it goes on.
    """
    if not isinstance(config, Training) or config.precision != "auto":
        return config
    return config.model_copy(update={"precision": before or _natural_precision(device)})


def _natural_precision(device: torch.device) -> str:
    """What this machine multiplies fastest."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if fast_bf16() else "fp32"


def forget_peaks(device: torch.device) -> None:
    """Let the peaks of memory be counted from here on, where the system can do so; what is kept and free goes back."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_gpu_memory(device: torch.device) -> int | None:
    """The most bytes that tensors have held on the GPU; None for other devices."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def peak_memory() -> int:
    """The most bytes of memory that this process has held, since `forget_peaks` where the system can do so."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
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
