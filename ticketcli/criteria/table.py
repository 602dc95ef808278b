"""The table of criteria: one file and one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ticketcli.criteria.magnitude import magnitude
from ticketcli.criteria.random import random
from ticketcli.criteria.selection import Request, Selection

CRITERIA: Mapping[str, Callable[[Request], Selection]] = {"magnitude": magnitude, "random": random}
