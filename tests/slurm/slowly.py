"""`python -m tests.slurm.slowly ...`: ticket, resting for $SLOWLY seconds at each training step, as on a slow machine."""

import os
import time

from ticketcli.cli.app import main
from ticketcli.execution import execute

_save = execute._Execution._maybe_save


def _rest_and_save(self, *arguments):
    time.sleep(float(os.environ.get("SLOWLY", "0")))
    _save(self, *arguments)


if __name__ == "__main__":
    execute._Execution._maybe_save = _rest_and_save
    main()
