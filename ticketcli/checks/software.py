"""Versions, torch and its devices, cores, extras, completion."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ticketcli import __version__
from ticketcli.checks.check import Check, ask
from ticketcli.units import human_bytes

_TORCH_SECONDS = 180.0  # the first import from a cold network disk takes a minute
_SMI_SECONDS = 15.0
_EXTRAS = {"timm": "for 'ticket import timm:NAME'", "tensorboard": "for --tensorboard"}
_COMPLETIONS = (".bash_completions/ticket.sh", ".zfunc/_ticket", ".config/fish/completions/ticket.fish")
_PAIR = "install torch and torchvision together, from one index"


def check_versions() -> Check:
    """What runs this."""
    found = f"ticketcli {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return Check("versions", "ok", found)


def probe_torch() -> dict[str, Any]:
    """What torch says of itself in a process of its own; `trouble` says how that ended where it did not end well."""
    script = Path(__file__).parents[1] / "execution" / "probe.py"
    answer = ask([sys.executable, "-P", str(script)], seconds=_TORCH_SECONDS)
    found: dict[str, Any] = {}
    for line in answer.out.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    if answer.code is None:
        found["trouble"] = f"no answer in {_TORCH_SECONDS:.0f} s"
    elif answer.code:
        last = answer.err.strip().rpartition("\n")[2]
        found["trouble"] = last or f"it ended with {answer.code}"
    return found


def check_torch(probe: Mapping[str, Any]) -> Check:
    """Does torch load, and does torchvision fit it?"""
    if "torch" not in probe:
        return Check("torch", "fail", f"torch does not load: {probe.get('trouble')}", _PAIR)
    if "torchvision" not in probe:
        why = probe.get("torchvision_error") or probe.get("trouble")
        return Check("torch", "fail", f"torch {probe['torch']}, but torchvision does not load: {why}", _PAIR)
    pair = f"torch {probe['torch']}, torchvision {probe['torchvision']}"
    if probe.get("operators") != "work":
        why = probe.get("operators") or probe.get("trouble")
        return Check("torch", "fail", f"{pair}: torchvision's operators do not work: {why}", _PAIR)
    return Check("torch", "ok", f"{pair}; they fit")


def check_cpu(probe: Mapping[str, Any]) -> Check:
    """Do torch's threads fit the cores that this process may use?"""
    cores, threads = usable_cores(), probe.get("threads")
    capability = probe.get("cpu", platform.machine())
    extras = [name for name, flag in (("AVX512-BF16", "avx512_bf16"), ("AMX", "amx_tile")) if flag in cpu_flags()]
    words = ", ".join([str(capability), *extras]) + f"; {cores} cores"
    if threads is None:
        return Check("cpu", "note", words)
    if threads > cores:
        hint = f"threads that wait for a core slow each other down: export OMP_NUM_THREADS={cores}"
        return Check("cpu", "warn", f"{words}, torch would use {threads} threads", hint)
    return Check("cpu", "ok", f"{words}, torch uses {threads} thread{'s' * (threads != 1)}")


def usable_cores() -> int:
    """The cores of this process: what the scheduler allows it, and what its control group pays for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        return cores


def cpu_flags() -> frozenset[str]:
    """The processor's features by Linux's names; none where they are not told."""
    return frozenset(_cpu("flags").split())


def fast_bf16() -> bool:
    """Whether the processor multiplies bf16 faster than fp32: with AMX, and AMD's with AVX512-BF16.

    Measured with `ticket bench train-cpu`: a step of ResNet-50 is 2.2 times as fast in bf16 as in fp32 on an AMD, and
    0.85 times as fast on an Intel with AVX512-BF16 whose AMX its virtual machine hides.
    """
    flags = cpu_flags()
    return "amx_bf16" in flags or ("avx512_bf16" in flags and _cpu("vendor_id") == "AuthenticAMD")


def _cpu(key: str) -> str:
    """What Linux says of the first processor; "" where it is not told."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")


def check_memory(needed: int | None = None) -> Check | None:
    """Memory that is free now against the peak that was measured; None where neither says anything."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None
    words = f"{human_bytes(free)} free" + ("" if needed is None else f", {human_bytes(needed)} needed")
    if needed is not None and needed > free:
        return Check("memory", "fail", words, "a smaller batch, or a machine with more")
    return Check("memory", "ok", words)


def check_gpu(probe: Mapping[str, Any], environment: Mapping[str, str]) -> Check:
    """Does torch see the GPUs that the driver sees, and can it compute on them?"""
    devices: Sequence[Mapping[str, Any]] = probe.get("devices", [])
    broken = [one for one in devices if one["error"]]
    if broken:
        hint = "install a torch build for this GPU and driver, or leave it out with CUDA_VISIBLE_DEVICES"
        return Check("gpu", "fail", f"{broken[0]['name']}: {broken[0]['error']}", hint)
    if devices:
        names = ", ".join(f"{one['name']} ({human_bytes(one['free'])} free)" for one in devices)
        return Check("gpu", "ok", f"{names}; CUDA {probe.get('cuda_build')}")
    if "devices" not in probe and "torchvision" in probe:
        return Check("gpu", "fail", f"looking for GPUs: {probe.get('trouble')}", "see whether nvidia-smi answers")
    return _no_gpu(probe, environment)


def _no_gpu(probe: Mapping[str, Any], environment: Mapping[str, str]) -> Check:
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return Check("gpu", "note", "none; everything is computed on the CPU")
    query = [smi, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    answer = ask(query, seconds=_SMI_SECONDS)
    if answer.code != 0:
        said = next(iter((answer.out + answer.err).strip().splitlines()), "no answer")
        return Check(
            "gpu", "warn", f"nvidia-smi: {said}", "the driver needs attention: a restart, or your administrator"
        )
    seen = answer.out.strip().splitlines()
    if not seen:
        return Check("gpu", "note", "none; everything is computed on the CPU")
    if environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return Check("gpu", "note", f"hidden by CUDA_VISIBLE_DEVICES: {seen[0]}", "unset it to compute there")
    name, _, driver = seen[0].partition(",")
    if probe.get("cuda_build") is None:
        hint = "install a torch build with CUDA, or go on without the GPU"
        return Check("gpu", "warn", f"{name} is there, but this torch is built for the CPU alone", hint)
    why = next(iter(probe.get("warnings", [])), "torch does not see it")
    hint = f"update the driver (now {driver.strip()}), or install a torch build for a CUDA before {probe['cuda_build']}"
    return Check("gpu", "fail", f"{name}: {why}", hint)


def check_extras() -> list[Check]:
    """Optional packages: which are here, and what the others would be for."""
    here, missing = [], []
    for name in _EXTRAS:
        try:
            here.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    checks = [Check("extras", "ok", ", ".join(here))] if here else []
    for name in missing:
        checks.append(Check("extras", "note", f"no {name}", f"pip install {name}, {_EXTRAS[name]}"))
    return checks


def check_completion(home: Path) -> Check:
    """Does Tab know the command?"""
    found = [file for file in _COMPLETIONS if (home / file).is_file()]
    if found:
        return Check("completion", "ok", f"~/{found[0]}")
    return Check("completion", "note", "Tab completes nothing yet", "ticket --install-completion")
