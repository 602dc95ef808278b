"""A process among several that torchrun started: process 0 runs the command, the others follow it; and their start."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from ticketcli.cli.endings import describe
from ticketcli.errors import PeerLost, UsageError
from ticketcli.launch.member import Member, begin, end, this_member
from ticketcli.launch.torchrun import Several, run_in_several, threads_each
from ticketcli.launch.verdict import of_process


def hand_over(several: Several, *, quiet: bool) -> None:
    """Have the command done by several processes and exit as they did, if that was asked for and they are not there.

    Raises:
        UsageError: where they should meet was not said, or torchrun started another number of them.
    """
    member = this_member()
    if member is not None:
        if several.nproc not in (1, member.local_world):
            what = f"torchrun started {member.local_world} processes on this machine, --nproc says {several.nproc}"
            raise UsageError(what, where="--nproc", hint="leave it away under torchrun")
        return
    several.check()
    if several.is_lone:
        return
    if several.tells and not quiet:
        where = f" on each of {several.nodes} machines" if several.nodes > 1 else ""
        threads = threads_each(several.nproc)
        each = f"{threads} thread{'s' * (threads != '1')} each"
        print(f"{several.nproc} processes{where} begin, {each}", file=sys.stderr, flush=True)
    found = run_in_several(several, sys.argv[1:])
    if found.text:
        print(found.text, file=sys.stderr, flush=True)
    sys.exit(found.code)


def take_part(member: Member, command: Callable[[], object]) -> NoReturn:
    """Run the command, or follow who does; leave a word of how it ended, and exit."""
    begin(member)
    code, text, lost_peer = 0, "", False
    try:
        if member.follows:
            from ticketcli.execution.orders import follow  # torch is loaded here

            follow()
        else:
            command()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(done.code is not None)
    except Exception as error:
        lost_peer = isinstance(error, PeerLost)
        code, text = describe(error)
    _say(member, code, "" if lost_peer and (member.folder or member.follows) else text)
    end(member, code, text, lost_peer=lost_peer)
    if not member.follows and member.world > 1 and (code == 0 or _have_met()):
        from ticketcli.execution.orders import dismiss

        dismiss()
    if member.world > 1:  # what threads torch has left can abort an interpreter that takes itself down
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _have_met() -> bool:
    """Whether the others are there. Who fails before that just ends: torchrun ends those that wait for the meeting."""
    if "ticketcli.tensors.ranks" not in sys.modules:
        return False
    from ticketcli.tensors import ranks

    return ranks.world() > 1


def _say(member: Member, code: int, text: str) -> None:
    if text:
        whose = of_process(member.rank, member.world, text) if member.follows else text
        print(whose, file=sys.stderr, flush=True)
    if code > 1 and member.rank == 0 and member.folder is None:
        print(f"note: torchrun is going to exit with 1; the exit code of ticket is {code}", file=sys.stderr, flush=True)
