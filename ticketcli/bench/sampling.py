"""Where the time of a command goes, by looking at its stack every few milliseconds from another thread.

That costs the command next to nothing, unlike a tracing profiler, which charges Python for being watched.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from types import FrameType

_EVERY = 0.005  # seconds
# What the innermost of these frames says, of the file's end and the function: the work itself.
_FRAMES = {
    ("torch/_tensor.py", "backward"): "backward",
    ("torch/autograd/__init__.py", "grad"): "backward",
    ("torch/nn/modules/module.py", "_call_impl"): "forward",
    ("stages/objective.py", "__call__"): "forward",
    ("torch/optim/optimizer.py", "wrapper"): "optimiser",
}
WORK = ("forward", "backward", "optimiser")
_OWN = "ticketcli"


class Samples:
    """How often each kind of work was seen, and whose frame was the innermost of ours where it was none of them."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.others: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """How often was looked."""
        return self.kinds.total()

    def share(self, *kinds: str) -> float:
        """Of the time."""
        return sum(self.kinds[kind] for kind in kinds) / max(1, self.total)

    def look(self, frame: FrameType | None) -> None:
        """Count one stack, given its innermost frame."""
        mine = ""
        while frame is not None:
            path, name = frame.f_code.co_filename.replace("\\", "/"), frame.f_code.co_name
            for (ending, function), kind in _FRAMES.items():
                if name == function and path.endswith(ending):
                    self.kinds[kind] += 1
                    return
            if not mine and f"/{_OWN}/" in path:
                mine = f"{PurePath(path).name}: {name}"
            frame = frame.f_back
        self.kinds["other"] += 1
        self.others[mine or "not ours"] += 1


@contextmanager
def watched(every: float = _EVERY) -> Iterator[Samples]:
    """Look at the calling thread while the `with` lasts."""
    found, over, thread = Samples(), threading.Event(), threading.get_ident()

    def watch() -> None:
        while not over.wait(every):
            found.look(sys._current_frames().get(thread))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()
