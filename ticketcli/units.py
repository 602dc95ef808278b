"""Quantities with units: training durations such as ``90ep`` and ``2000it``, and sizes for people."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ticketcli.errors import UsageError

_FORM = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*(ep|it)")

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kmgt]?b)", re.IGNORECASE)
_FACTORS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


@dataclass(frozen=True)
class Duration:
    """A length of training: epochs (``ep``, may be fractional) or iterations (``it``, whole)."""

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: object) -> Duration:
        """Read ``10ep`` or ``2000it``. A bare number is refused, because its unit would be a guess."""
        if isinstance(text, Duration):
            return text
        match = _FORM.fullmatch(str(text).strip())
        if match is None:
            raise UsageError(f"'{text}' is not a duration", hint="write 10ep for epochs or 2000it for iterations")
        amount, unit = float(match[1]), match[2]
        if unit == "it" and amount != int(amount):
            raise UsageError(f"'{text}' is not a whole number of iterations", hint=f"write {round(amount)}it")
        return cls(amount, unit)

    def iterations(self, per_epoch: int) -> int:
        """The number of optimiser steps, given the steps in an epoch; rounds half to even."""
        return round(self.amount * per_epoch) if self.unit == "ep" else int(self.amount)

    def __str__(self) -> str:
        return f"{self.amount:g}{self.unit}" if self.unit == "ep" else f"{int(self.amount)}it"


def parse_bytes(text: str) -> int:
    """Read a size such as ``2GB`` or ``500 MB`` (powers of 1000).

    Raises:
        UsageError: it is no size, or none at all.
    """
    match = _SIZE.fullmatch(text.strip())
    n = round(float(match[1]) * _FACTORS[match[2].lower()]) if match is not None else 0
    if n < 1:
        raise UsageError(f"'{text}' is not a size", hint="write 500MB or 2GB")
    return n


def human_bytes(n: int) -> str:
    """A size in bytes as people read it: 2.93 MB (powers of 1000)."""
    size = float(n)
    for unit in ("B", "kB", "MB"):
        if size < (1000 if unit == "B" else 999.5):  # what would be rounded to 1000 is 1 of the next
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def human_seconds(seconds: float) -> str:
    """A time span as people read it: 48s, 3m 05s, 2h 10m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    return f"{minutes // 60}h {minutes % 60:02d}m"
