"""How much more memory a piece of work holds at its peak than before it."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"


def extra_memory(work: Callable[[], object]) -> int:
    """Bytes held at the peak of `work`, over those held before it; what it returns is part of them.

    The larger of two figures, of a run each: what Python and numpy asked for, and by how much the resident memory of
    the process grew, which also sees torch but not what was asked for from memory that lay free.
    """
    return max(_asked_for(work), _resident(work))


def _asked_for(work: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = work()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    del result
    return peak - before


def _resident(work: Callable[[], object]) -> int:
    """Linux keeps the highest number of resident bytes, and lets it be reset; 0 elsewhere."""
    gc.collect()
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return 0
    before = _read("VmRSS")
    result = work()
    peak = _read("VmHWM")
    del result
    return max(0, peak - before)


def _read(key: str) -> int:
    fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return int(fields[key].split()[0]) * 1024
