"""What both experiments refuse: sizes that mean nothing, or do not fit into memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ticketcli.errors import UsageError

_MOST_BYTES = 4 * 2**30
_GIB = 2**30


def require_shares(p: Sequence[float], where: str) -> None:
    """Refuse anything but increasing shares between 0 and 1.

    Raises:
        UsageError: names the first that will not do.
    """
    if not p:
        raise UsageError("no share of weights is given", where=f"{where}.p", hint="--p 0.02,0.05")
    for one in p:
        if not (math.isfinite(one) and 0 < one < 1):
            raise UsageError(f"p is a share between 0 and 1, got {one:g}", where=f"{where}.p", hint="0.05 for 5 %")
    if list(p) != sorted(set(p)):
        raise UsageError("the shares do not increase", where=f"{where}.p", hint="name each once, the smallest first")


def require_at_least(where: str, least: int, **numbers: int) -> None:
    """Refuse a number below `least`.

    Raises:
        UsageError: names it.
    """
    for name, number in numbers.items():
        if number < least:
            raise UsageError(f"{name} is {number}", where=f"{where}.{name}", hint=f"{least} or more")


def require_kernel(s: int, length: int, where: str) -> None:
    """Refuse a kernel that is wider than the circle it lies on, and a circle of one position.

    Raises:
        UsageError: says how wide it may be.
    """
    require_at_least(where, 0, s=s)
    require_at_least(where, 2, length=length)
    if 2 * s + 1 > length:
        raise UsageError(
            f"a kernel of {2 * s + 1} taps is wider than the {length} positions",
            where=f"{where}.s", hint=f"--s {(length - 1) // 2} or less, or a greater --length",
        )  # fmt: skip


def require_memory(n_bytes: int, where: str) -> None:
    """Refuse what would fill the memory of a usual machine.

    Raises:
        UsageError: says how much it would take.
    """
    if n_bytes > _MOST_BYTES:
        what = f"a network of this size takes {n_bytes / _GIB:.1f} GiB"
        raise UsageError(what, where=f"{where}.width", hint=f"a smaller --width; {_MOST_BYTES // _GIB} GiB at most")
