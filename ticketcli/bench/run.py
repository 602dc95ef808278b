"""Suites by name, one after the other, the time shared out among their comparisons; one that cannot run says why."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

import torch

from ticketcli.bench.job import BenchJob
from ticketcli.bench.row import Row, Setting
from ticketcli.bench.table import GPU, HOW, ON_GPU, SUITES, Suite
from ticketcli.errors import TicketError, UsageError, did_you_mean

_VERSIONED = ("ticketcli", "torch", "torchvision", "numpy", "pillow", "simplejpeg", "safetensors", "hotcoco",
              "pycocotools", "faster-coco-eval", "nncf", "typer", "onnx", "onnxruntime")  # fmt: skip


def chosen(names: Sequence[str], device: torch.device | None = None) -> list[str]:
    """The suites of these names; of none, all that can be measured on the device.

    Raises:
        UsageError: unknown suite.
    """
    for name in names:
        if name not in SUITES:
            raise UsageError(f"no suite '{name}'", where="bench", hint=did_you_mean(name, SUITES))
    on_gpu = device is not None and device.type == "cuda"
    return list(dict.fromkeys(names)) or list(ON_GPU if on_gpu else SUITES)


def setting(scale: float = 1.0) -> Setting:
    """The machine, as far as figures depend on it."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    words = [_cpu(), torch.backends.cpu.get_cpu_capability(), f"{_cores()} cores", device]
    return Setting(", ".join(word for word in words if word), torch.get_num_threads(), _versions(), scale)


def run_suites(
    names: Sequence[str],
    *,
    seconds: float,
    where: Setting,
    data_dir: Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
    device: torch.device | None = None,
) -> Iterator[Row]:
    """The rows of suites as they are measured; an error of one is a row, and the others still run.

    Args:
        names: of the table.
        seconds: for all turns of all comparisons; preparation comes on top, and each makes its six pairs.
        where: what `setting` gave.
        data_dir: where real images are looked for.
        tell: hears what is being measured.
        device: that is computed on; None is the CPU.
    """
    device = device or torch.device("cpu")
    share = seconds / sum(SUITES[name].comparisons for name in names)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="ticket-bench-") as folder:
            job = BenchJob(name, where, Path(folder), share, data_dir, tell, device=device)
            yield from run_suite(job)


def run_suite(job: BenchJob) -> Iterator[Row]:
    """The rows of one suite."""
    suite = SUITES[job.suite]
    why = cannot(suite)
    if not why and job.device.type == "cuda" and job.suite not in ON_GPU:
        why = "this is measured on CPUs alone"
    if why:
        yield job.absent(suite.summary, "", why)
        return
    module, _, function = suite.function.partition(":")
    try:
        yield from getattr(importlib.import_module(f"ticketcli.bench.suites.{module}"), function)(job)
    except TicketError as error:
        yield job.absent(suite.summary, "", f"{error.what}" + (f"; try: {error.hint}" if error.hint else ""))
    except Exception as error:  # hours of the other suites are not lost with one
        what = next(iter(str(error).splitlines()), "")
        yield job.absent(suite.summary, "", f"unexpected {type(error).__name__}: {what}")


def cannot(suite: Suite) -> str:
    """Why a suite cannot run here, and what to do; "" where it can."""
    for need in suite.needs:
        if need == GPU and not torch.cuda.is_available():
            return "no GPU here that torch can use"
        if need != GPU and missing(need):
            return f"{need} is not installed: {HOW[need]}"
    return ""


def missing(package: str) -> bool:
    """Whether a package is not installed."""
    return importlib.util.find_spec(package) is None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _cores() -> int:
    from ticketcli.checks.software import usable_cores

    return usable_cores()
