"""What process 0 has the others do: it alone plans, locks, prints and writes; they follow until they are dismissed."""

from __future__ import annotations

from dataclasses import dataclass

from ticketcli.tensors import ranks


@dataclass(frozen=True)
class Order:
    """A step to be worked on by all processes together."""


_busy = False  # whether the others are in the middle of an order, and could not hear another


def follow() -> None:
    """Do what process 0 orders, until it says that that was all; for every process but the first.

    Raises:
        PeerLost: another process has ended.
        TicketError: what went wrong in this one.
    """
    ranks.join()
    while ranks.told(None) is not None:
        pass
    ranks.leave()


def dismiss() -> None:
    """Send the others home; for process 0 before it leaves, whatever happened. Never raises.

    They end without an error, unless process 0 failed while they were at work with it: then its connections are closed,
    and they notice.
    """
    if ranks.started() == 1:
        return
    try:
        ranks.join()
        if not _busy:
            ranks.told(None)
    except Exception:  # nobody is left to be told, and what has gone wrong before is what matters
        pass
    ranks.leave()
