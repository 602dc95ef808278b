"""`python -m tests.launch.part DEED`: a parent, and under it two processes that do what the deed says, without torch."""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from ticketcli.launch.member import begin, end, this_member
from ticketcli.launch.torchrun import Several, run_in_several

STOPPED = "stopped: SIGNAL: saved"


def parent():
    several = Several(**json.loads(os.environ.get("SEVERAL", '{"nproc": 2}')))
    found = run_in_several(several, sys.argv[1:], module="tests.launch.part")
    if found.text:
        print(found.text, file=sys.stderr)
    print("torch" if "torch" in sys.modules else "light")
    sys.exit(found.code)


def leave(member, code, text="", *, lost_peer=False):
    if member.rank == 0 and text and not lost_peer:
        print(text, file=sys.stderr)
    end(member, code, text, lost_peer=lost_peer)
    sys.exit(code)


def wait_for_signals(member):
    """As a step does: the first is noted, a second Ctrl-C ends it; process 0 tells when all are listening."""
    asked = []

    def on(number, _frame):
        asked.append(number)
        print(f"{member.rank}: {signal.Signals(number).name}", flush=True)
        if asked.count(signal.SIGINT) > 1:
            leave(member, 130)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, on)
    Path(f"listening-{member.rank}").write_text(str(os.getpid()))
    while not asked:
        time.sleep(0.02)
    return asked


def part(member, deed, *more):
    begin(member)
    if deed == "codes":  # of each process; the first that fails is the cause
        code = int(more[member.rank])
        if not code:
            time.sleep(0.3)
        leave(member, code, f"error: code {code}\n  try: {' '.join(more[2:])}" if code else "")
    if deed == "lost":  # process 1 ends as it is told, which the other notices
        if member.rank == 1:
            if more[0] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            print("the last words of process 1", flush=True)
            os.abort()
        with suppress(KeyboardInterrupt):
            time.sleep(0.5)
        leave(member, 1, "error: another process has ended", lost_peer=True)
    if deed == "stubborn":  # process 0 does not notice that the other has gone
        if member.rank == 1:
            leave(member, 9, "error: not finite\n   at: here")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(45)
    wait_for_signals(member)
    if deed == "wait":
        time.sleep(float(more[0]) if more else 0.0)
        leave(member, 75 if member.rank == 0 else 0, STOPPED)
    time.sleep(45)  # deed == "hang"


if __name__ == "__main__":
    this = this_member()
    if this is None:
        parent()
    else:
        part(this, *sys.argv[1:])
