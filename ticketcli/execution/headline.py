"""A finished unit in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ticketcli.units import human_bytes


def headline(metrics: Mapping[str, Any], speed: float | None, memory: int, gpu_memory: int | None) -> str:
    """What people want to know at once of a unit that is finished.

    Args:
        metrics: what was measured.
        speed: images a second of its training, if there was one.
        memory: bytes at the peak.
        gpu_memory: of the GPU; None where there is none.
    """
    parts = []
    if "sparsity" in metrics:
        parts.append(f"{metrics['sparsity']:.2%} sparse")
    for name in ("test", "validation", "healed_before"):
        if name in metrics:
            found, label = metrics[name], name.replace("healed_before", "finetuned")
            parts += [f"{label} top-1 {found['top1']:.2%}"] if "top1" in found else []
            parts += [f"PSNR {found['psnr']:.2f} dB"] if "psnr" in found else []
    found = metrics.get("test", metrics)
    parts += [f"mIoU {found['miou']:.2%}"] if found.get("miou") is not None else []
    for kind in ("box", "mask"):
        parts += [f"{kind} AP {100 * found[kind]['ap']:.1f}"] if found.get(kind, {}).get("ap") is not None else []
    parts += [f"trained at {speed:,.0f} img/s"] if speed is not None else []
    parts.append(f"peak memory {human_bytes(memory)}")
    parts += [f"of the GPU {human_bytes(gpu_memory)}"] if gpu_memory is not None else []
    return ": " + ", ".join(parts)
