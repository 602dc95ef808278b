"""Two processes that torchrun might have started: real children that meet on the loopback interface."""

import contextlib
import os
import socket
import subprocess
import sys
import time


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def members(*arguments, n=2, **environment):
    """`n` Python processes with these arguments, which are ended with the block."""
    meeting = {"WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    started = []
    try:
        for rank in range(n):
            own = {**meeting, "RANK": rank, "LOCAL_RANK": rank, **environment}
            started.append(
                subprocess.Popen(
                    [sys.executable, *map(str, arguments)],
                    env=os.environ | {name: str(value) for name, value in own.items()},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


class Ended:
    """How a process ended, and what it said on stderr."""

    def __init__(self, process, timeout):
        _, self.err = process.communicate(timeout=timeout)
        self.code = process.returncode

    def __repr__(self):
        return f"exit {self.code}\n{self.err}"


def ends(processes, within=200):
    """Wait for all of them."""
    until = time.monotonic() + within
    return [Ended(process, max(1.0, until - time.monotonic())) for process in processes]


def wait_for(process, words):
    """Read what a process says until it says `words`."""
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            return
    raise AssertionError("".join(said))


def together(*arguments, **more):
    """Run `ticket` in two processes; how both ended."""
    with members("-m", "ticketcli", *arguments, **more) as started:
        return ends(started)
