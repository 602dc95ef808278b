"""`python -m ticketcli.agent`: torchrun, which keeps its reports to itself and leaves what it knows to who started it.

Run by `launch/torchrun.py`. On its own torchrun ends a failure, and a stop, with a page of log lines and a traceback
below the one message that counts.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

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


if __name__ == "__main__":
    main()
