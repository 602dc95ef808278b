"""`Check`: one finding, and what to do about it; and how to ask another program without waiting forever."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "note", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """A finding.

    Attributes:
        name: what was looked at.
        state: ok; note: worth knowing; warn: will hurt; fail: a run would end with `code`.
        found: what is there.
        hint: what to do about it.
        code: the exit code of a failure, as in `errors.py`.
    """

    name: str
    state: State
    found: str
    hint: str = ""
    code: int = 1

    def as_json(self) -> dict[str, Any]:
        """All of it; a code only where something failed."""
        return {key: value for key, value in asdict(self).items() if key != "code" or self.state == "fail"}


@dataclass(frozen=True)
class Answer:
    """What a program said until it ended, or until `seconds` were over; `code` is None where it had to be ended."""

    out: str
    err: str
    code: int | None


def ask(command: Sequence[str], *, seconds: float, environment: Mapping[str, str] | None = None) -> Answer:
    """Run a program with nothing on its input and no more time than this."""
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds, env=environment, check=False
        )
    except subprocess.TimeoutExpired as late:
        return Answer(_text(late.stdout), _text(late.stderr), None)
    except OSError as error:
        return Answer("", str(error), 127)
    return Answer(_text(done.stdout), _text(done.stderr), done.returncode)


def _text(said: bytes | None) -> str:
    return (said or b"").decode(errors="replace")
