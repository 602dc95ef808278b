"""Which machine this is, and which of its processes: told so that another process can see whether it still lives."""

from __future__ import annotations

import os
import re
import secrets
import socket
from functools import cache
from pathlib import Path

_NAMELESS = ("", "(none)", "localhost", "localhost.localdomain")  # many machines call themselves so
_LONGEST = 80  # characters of a file's name that its temporary file repeats


@cache
def host_name() -> str:
    """What the machine calls itself, or "" where that tells it from no other."""
    name = socket.gethostname()
    return "" if name in _NAMELESS else name


@cache
def boot_id() -> str:
    """A word that no other machine has, and this one only until it starts again; "" where the system gives none.

    Containers on one machine share it, whatever they call themselves.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def process_space() -> str:
    """The space in which process ids count (a container has its own); "" where the system does not say."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_start(pid: int) -> int | None:
    """When a process of this machine began, in clock ticks since the machine did; None where there is no such process.

    An id is given to another process some day, its beginning is not. A process that has died and is not yet buried by
    its parent (a zombie) counts as gone. Source: proc(5), fields 3 and 22 of stat.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # a name may hold anything
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def is_alive(pid: int) -> bool:
    """Whether a process of this id is there, also on systems without /proc, and also when it is somebody else's."""
    if Path("/proc/self/stat").exists():
        return process_start(pid) is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def temporary_name(name: str) -> str:
    """A name beside `name` that nobody else takes: not another process, not one of equal id on another machine."""
    host = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:40]
    return f".{name[:_LONGEST]}.{host}-{os.getpid()}-{secrets.token_hex(4)}.tmp"


_TEMPORARY = re.compile(r"\..+\.(?P<host>[A-Za-z0-9._]*)-(?P<pid>\d+)-[0-9a-f]{8}\.tmp|\..+\.tmp")


def is_temporary(name: str) -> bool:
    """Whether a file is called as unfinished ones are."""
    return _TEMPORARY.fullmatch(name) is not None


def may_be_written(name: str) -> bool:
    """Whether the process that began a temporary file may still live; of another machine's, nothing is known."""
    match = _TEMPORARY.fullmatch(name)
    if match is None or match["pid"] is None:
        return False
    own = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:40]
    return match["host"] != own or is_alive(int(match["pid"]))
