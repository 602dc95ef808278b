"""What two processes do together for `test_conversation.py`: each leaves what it found in FOLDER/RANK.pt."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.ranks.exercises import exercises, refused, small_run
from tests.stages.small_job import prune_job
from ticketcli.data.order import Order
from ticketcli.data.sources import Sources
from ticketcli.errors import CorruptError, TicketError
from ticketcli.execution.machine import environment, pick_device
from ticketcli.models.zoo import Published
from ticketcli.recipe.configs import ImportConfig
from ticketcli.stages import import_weights
from ticketcli.stages.choosing import select
from ticketcli.stages.job import Job
from ticketcli.stages.pruned_network import PrunedNetwork
from ticketcli.tensors import ranks
from ticketcli.training.loop import train


def agreement(rank):
    value, norm = torch.tensor([float(rank), 1.0]), torch.nn.BatchNorm1d(2)
    ranks.add_up([value])
    norm.running_mean.fill_(7.0 + rank)
    ranks.copy_buffers(norm)
    return {
        "any": [ranks.any_of(False), ranks.any_of(rank == 1)],
        "agreed": [ranks.agreed(""), ranks.agreed("SIGTERM" if rank == 1 else "")],
        "told": ranks.told(f"of {rank}"),
        "gathered": ranks.gathered(f"of {rank}"),
        "sum": value.tolist(),
        "mean": norm.running_mean.tolist(),
        "alike": refused(lambda: ranks.require_equal("same", "the mask of round 3")),
    }


def slices():
    order = Order(11, 5, seed=3)
    return {
        "chosen": [order.chosen(epoch, step).tolist() for epoch in (0, 1) for step in (0, 1)],
        "share": order.share,
        "too small": refused(lambda: Order(10, 1, seed=0)),
    }


def differing_masks(rank):
    """One process has other weights than the other, as a fault of its memory would leave them."""
    network = PrunedNetwork(prune_job(loss="cls"))
    if rank == 1:
        network.model.layer2[0].conv1.weight.data.mul_(100)
    return refused(lambda: select(network, network.mask, 4))


def fetching(folder, rank):
    """Whether published weights are there when this process asks for them; process 0 takes its time to fetch them."""
    kept, there = folder / "weights", []

    def published(source):
        there.append(kept.is_file())
        if rank == 0:
            time.sleep(0.5)
            kept.touch()
        return Published("resnet50", source, {}, (0.0,) * 3, (1.0,) * 3, 224, (), "")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_weights, "published", published)
        config = ImportConfig(source="torchvision:resnet50")
        import_weights._source(Job(config, {}, {}, (), None, None, torch.device("cpu")), "")
    return there


def last_words(rank):
    """Process 1 meets a damaged image in the second step: each one's code and words, and how long the other waited."""
    run, steps = small_run(batch=15, length="9it", still=False), []

    def loss(images, labels):
        steps.append(time.monotonic())
        if rank == 1 and len(steps) == 2:
            raise CorruptError("the image is damaged")
        return run.loss(images, labels)

    try:
        return list(train(replace(run, loss=loss)))
    except TicketError as error:
        return error.code, error.what, time.monotonic() - steps[-1]


def main(folder):
    ranks.join()
    rank = ranks.rank()
    found = {
        "agreement": agreement(rank),
        "slices": slices(),
        "masks": differing_masks(rank),
        "gpu": refused(lambda: pick_device("cuda:0")),
        "fetching": fetching(folder, rank),
        "workers": Sources().n_workers,
        "processes": environment(torch.device("cpu"))["processes"],
        **exercises(),
    }
    torch.save(found, folder / f"{rank}.pt")
    torch.save(last_words(rank), folder / f"{rank}-end.pt")  # after which process 1 is gone
    sys.stderr.flush()
    os._exit(0)  # as ticket does: what threads torch has left can abort an interpreter that takes itself down


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
