"""Dropout in the training loop: its draws are a function of the seed and the step."""

import torch
from torch import nn
from torch.nn import functional as F

from ticketcli.data.batches import Batches
from ticketcli.data.sets import load_splits
from ticketcli.recipe.configs import PretrainConfig
from ticketcli.tensors.seeds import generator
from ticketcli.training.loop import Run, train
from ticketcli.training.yields import Snapshot
from ticketcli.units import Duration


class Dropped(nn.Module):
    """Small, with a dropout, for the training loop."""

    def __init__(self, p=0.5):
        super().__init__()
        self.fc = nn.Linear(64, 2)
        self.dropout = nn.Dropout(p)
        with torch.no_grad():
            self.fc.weight.normal_(generator=generator(0, "dropped"))
            self.fc.bias.zero_()

    def forward(self, x):
        return self.fc(self.dropout(x[:, 0].flatten(1)))


def run_of(net, seed=0):
    config = PretrainConfig.parse({"data": "digits", "seed": seed, "batch": 8}, where="p")
    splits = load_splits("digits", classes=(0, 1), per_class=20, seed=0, image_size=8)
    batches = Batches(
        splits.train, normalization=splits.normalization, batch=8, seed=0, augment="none", device=torch.device("cpu")
    )
    loss = lambda x, y: {"loss": F.cross_entropy(net(x), y)}  # noqa: E731
    return Run("test", net, loss, batches, config, Duration.parse("6it"), {})


def trained(seed=0, p=0.5, global_seed=0, cut=None):
    """The weights in the end; with `cut`, of a training that was stopped there and resumed beside other draws."""
    torch.manual_seed(global_seed)
    net, state = Dropped(p), None
    for n, event in enumerate(one for one in train(run_of(net, seed)) if isinstance(one, Snapshot)):
        if cut is not None and n + 1 == cut:
            state = event.capture()
            break
    if state is not None:
        torch.rand(5)
        state = {**state, "rng": torch.get_rng_state()}  # whatever a process has drawn before
        for _ in train(run_of(net := Dropped(p), seed), resume=state):
            pass
    return net.fc.weight.detach()


def test_what_dropout_drops_follows_from_the_seed_and_the_step_alone():
    one = trained()
    assert torch.equal(one, trained(global_seed=1))
    assert torch.equal(one, trained(cut=3))
    assert not torch.equal(one, trained(seed=1))
    assert not torch.equal(one, trained(p=0.0))


def test_a_training_with_dropout_leaves_the_global_generator_alone():
    run = run_of(Dropped())
    before = torch.get_rng_state()
    for _ in train(run):
        pass
    assert torch.equal(torch.get_rng_state(), before)
