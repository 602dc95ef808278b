"""The calibration pass on tiny networks."""

import pytest
import torch
from torch import nn

from ticketcli.criteria.layerwise.gram import gram_bytes
from ticketcli.data.series import Series
from ticketcli.errors import MismatchError
from ticketcli.training.calibrate import Moments, groups_of, layers_of


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.z = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.a = nn.Linear(4, 2)
        self.unused = nn.Linear(4, 2)

    def forward(self, x):
        return self.a(self.norm(self.z(x)).relu().mean(dim=(2, 3)))


def series(n=5, size=4):
    def make(tasks):
        for task in tasks:
            yield torch.rand(size, 3, 6, 6, generator=torch.Generator().manual_seed(task)), torch.zeros(size)

    return Series(range(n), make)


def moments(model, *names, positions=None, seed=0):
    return Moments(layers_of(model, [f"{name}.weight" for name in names]), positions, seed)


def test_layers_come_in_the_networks_order():
    assert list(layers_of(Net(), ["a.weight", "z.weight"])) == ["z.weight", "a.weight"]


def test_the_moments_are_those_of_what_goes_into_the_layer_in_eval_mode():
    model, found = Net(), None
    found = moments(model, "a", "z")
    outputs = list(found.gather(model, series()))
    model.eval()
    with torch.no_grad():
        images = torch.cat([images for images, _ in series()])
        inputs = model.norm(model.z(images)).relu().mean(dim=(2, 3)).double()
        assert torch.equal(torch.cat(outputs), torch.cat([model(images) for images, _ in series()]))
    gram = found.gram("a.weight")
    assert gram.n == len(images) == found.seen
    torch.testing.assert_close(gram.second[0], inputs.T @ inputs / len(images), rtol=1e-6, atol=1e-9)
    assert found.gram("z.weight").n == len(images) * 36


def test_it_leaves_the_network_as_it_was():
    model = Net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    list(moments(model, "z", "a").gather(model, series()))
    assert model.training
    assert model.norm.training
    assert not model.z._forward_pre_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_going_on_from_a_saved_state_gives_the_same_bits_positions_drawn_too():
    model = Net()
    straight = moments(model, "z", "a", positions=5, seed=3)
    list(straight.gather(model, series()))
    begun = moments(model, "z", "a", positions=5, seed=3)
    for _, _ in zip(begun.gather(model, series()), range(2), strict=False):
        pass
    resumed = moments(model, "z", "a", positions=5, seed=3)
    resumed.load(begun.state())
    left = len(list(resumed.gather(model, series())))
    assert left == 5 - resumed.done + left == 5 - begun.done
    for name in ("z.weight", "a.weight"):
        assert torch.equal(resumed.gram(name).second, straight.gram(name).second)
        assert torch.equal(resumed.gram(name).mean, straight.gram(name).mean)


def test_a_layer_that_no_image_reaches_is_named_in_the_first_batch():
    model = Net()
    with pytest.raises(MismatchError, match="no image reaches this layer") as refused:
        list(moments(model, "z", "unused").gather(model, series()))
    assert refused.value.where == "unused"


def test_layers_share_what_memory_there_is_and_one_too_large_is_alone():
    model = Net()
    layers = layers_of(model, ["z.weight", "a.weight", "unused.weight"])
    small = gram_bytes(model.a)
    assert groups_of(layers, 10**9) == [("z.weight", "a.weight", "unused.weight")]
    assert groups_of(layers, 2 * small) == [("z.weight",), ("a.weight", "unused.weight")]
    assert groups_of(layers, 1) == [("z.weight",), ("a.weight",), ("unused.weight",)]
    assert groups_of({}, 1) == []
