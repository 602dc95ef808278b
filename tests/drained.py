"""What a generator returns in the end, for tests that do not ask what it yields on the way."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

ValueT = TypeVar("ValueT")


def drained(generator: Generator[Any, Any, ValueT]) -> ValueT:
    """Run it to its end."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
