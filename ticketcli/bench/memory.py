"""How much more memory a piece of work holds at its peak than before and after it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"


def extra_memory(work: Callable[[], object]) -> int | None:
    """Bytes that the process held at the peak of `work`, over what it held before; None where the system cannot say.

    Linux keeps the highest number of resident bytes, and lets it be reset. What `work` returns is part of it.
    """
    gc.collect()
    try:
        _CLEAR.write_text(_RESET_PEAK)
        before = _read("VmRSS")
        result = work()
        peak = _read("VmHWM")
    except (OSError, KeyError):
        return None
    del result
    return max(0, peak - before)


def _read(key: str) -> int:
    fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return int(fields[key].split()[0]) * 1024
