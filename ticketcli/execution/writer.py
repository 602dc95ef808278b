"""One piece of work at a time, done by a thread while this one goes on; what goes wrong in it is raised here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Writer:
    """Writes in the background. The caller looks in now and then, and waits before it leaves."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._seconds = 0.0
        self._after: Callable[[float], None] = lambda seconds: None

    @property
    def is_busy(self) -> bool:
        """Whether work is under way."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, work: Callable[[], None], after: Callable[[float], None] = lambda seconds: None) -> None:
        """Start the work; if other is under way, that is waited for first.

        Args:
            work: what the thread does.
            after: called by `look` or `finish`, so not in the thread, when it has been done well, with its seconds.

        Raises:
            BaseException: what went wrong in the work before.
        """
        self.finish()

        def run() -> None:
            began = time.monotonic()
            try:
                work()
            except BaseException as error:  # it is raised where somebody can act on it
                self._error = error
            self._seconds = time.monotonic() - began

        self._after = after
        self._thread = threading.Thread(target=run, name="writer")
        self._thread.start()

    def look(self) -> None:
        """Take note of work that has ended; costs nothing while it goes on.

        Raises:
            BaseException: what went wrong in it.
        """
        if self._thread is not None and not self._thread.is_alive():
            self.finish()

    def finish(self) -> None:
        """Wait until nothing is under way.

        Raises:
            BaseException: what went wrong in it.
        """
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
        self._after(self._seconds)

    def end(self) -> None:
        """Wait until nothing is under way; what went wrong is of no interest, for the caller fails or is done."""
        if self._thread is not None:
            self._thread.join()
            self._thread = self._error = None
