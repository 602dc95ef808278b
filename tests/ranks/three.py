"""Three processes train without a cut, and from the state after half of it; process 0 leaves both in FOLDER/weights.pt."""

import copy
import sys
from pathlib import Path

import torch

from tests.ranks.exercises import small_run
from ticketcli.tensors import ranks
from ticketcli.tensors.files import copy_of
from ticketcli.training.loop import train
from ticketcli.training.yields import Snapshot


def main(folder):
    ranks.join()
    straight, states = small_run(batch=15, length="6it", still=False), []
    for event in train(straight):
        if isinstance(event, Snapshot):
            states.append(copy.deepcopy(event.capture()))
    resumed = small_run(batch=15, length="6it", still=False)
    assert all(event is not None for event in train(resumed, resume=ranks.told(states[2])))
    if ranks.rank() == 0:
        torch.save([copy_of(run.model) for run in (straight, resumed)], folder / "weights.pt")
    ranks.leave()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
