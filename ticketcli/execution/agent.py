"""`python -m ticketcli.execution.agent`: torchrun, whose reports stay here; what it knows goes to its starter.

Run by `launch/torchrun.py`. On its own torchrun ends a failure, and a stop, with a page of log lines and a traceback
below the one message that counts.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from ticketcli.launch.member import FOLDER, SIGNALS, STARTED_BY, Launched, end_with_launcher, leave_account


def main() -> None:
    """Be torchrun, with the same arguments; exits with 0 or 1."""
    end_with_launcher()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until torchrun handles it, there is nothing to be unwound
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    os.environ[STARTED_BY] = str(os.getpid())
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    if "LOGLEVEL" not in os.environ:  # by which torchrun is asked for more
        logging.disable()
    _heed_one_signal()
    folder = Path(os.environ[FOLDER])
    try:
        torchrun(sys.argv[1:])
    except SignalException:
        sys.exit(1)
    except ChildFailedError as error:
        leave_account(folder, Launched({rank: failure.exitcode for rank, failure in error.failures.items()}))
        sys.exit(1)
    except Exception as error:
        leave_account(folder, Launched(error=f"{type(error).__name__}: {error}"))
        sys.exit(1)


def _heed_one_signal() -> None:
    """Let torchrun pass on the first signal and hear no other: the second makes it send SIGTERM, the third makes it
    leave its processes, which then are killed in the midst of saving. SLURM sends to every process of a job, and so to
    torchrun both itself and by way of the parent.
    """
    from torch.distributed.elastic.multiprocessing import api

    pass_on = api._terminate_process_handler

    def once(signum: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        pass_on(signum, frame)

    api._terminate_process_handler = once


if __name__ == "__main__":
    main()
