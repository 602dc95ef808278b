"""`Apart`: work in a process of its own, for what a process is set to as a whole, such as how it keeps its memory."""

from __future__ import annotations

import subprocess
import sys
from typing import Self


class Apart:
    """A process that works whenever it is asked to.

    Args:
        script: Python; reads a line for each piece of work, and answers it with one.
        words: its arguments.
    """

    def __init__(self, script: str, *words: object) -> None:
        command = [sys.executable, "-c", script, *map(str, words)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def go(self) -> str:
        """Work once; the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print("go", file=self.process.stdin, flush=True)
        return self.process.stdout.readline()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()  # its input ends, and so does it
