"""However a ReLU is written, each call has one gate; and what the network computes stays what it was."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.explain.nets import Gradual, Plain, Pooled, classes, filled, images, resnet
from ticketcli.errors import UsageError
from ticketcli.explain.passes import forward
from ticketcli.explain.search import GatedNetwork
from ticketcli.models.architectures import build_encoder


class Ways(nn.Module):
    """One convolution, and behind it a ReLU that is written in some way, called twice."""

    def __init__(self, way):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 4)
        self.way, self.act, self.inner = way, nn.ReLU(), nn.ReLU(inplace=True)

    def forward(self, x):
        for _ in range(2):
            x = self.way(self, self.conv(x))
        return self.head(x.mean((2, 3)))


def dropped(net, x):
    """Overwritten, and what is returned thrown away."""
    net.inner(x)
    return x


def read_later(net, x):
    """Overwritten, and read under its old name."""
    y = x.relu_()
    return x + y


def added_to(net, x):
    y = torch.relu(x)
    y += x
    return F.relu_(y)


WAYS = {
    "a module": lambda net, x: net.act(x),
    "a module that overwrites": lambda net, x: net.inner(x),
    "a module whose result is thrown away": dropped,
    "torch.relu": lambda net, x: torch.relu(x),
    "torch.relu_": lambda net, x: torch.relu_(x),
    "F.relu": lambda net, x: F.relu(x),
    "F.relu in place": lambda net, x: F.relu(x, inplace=True),
    "F.relu in place, by position": lambda net, x: F.relu(x, True),
    "F.relu_": lambda net, x: F.relu_(x),
    "a keyword": lambda net, x: F.relu(input=x),
    "a method": lambda net, x: x.relu(),
    "a method that overwrites": lambda net, x: x.relu_(),
    "read later": read_later,
    "in a module of its own": lambda net, x: nn.Sequential.forward([net.act], x),
    "a parameter's own operations": lambda net, x: torch.relu(x * torch.sigmoid(net.head.bias[0])),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_call_has_one_gate_however_it_is_written(way):
    net = filled(Ways(WAYS[way]), 0)
    network, x = GatedNetwork(net), images(3, 6)
    assert len(network.names) == 2
    assert len(set(network.names)) == 2
    assert torch.equal(forward(network.traced, x, {}, network.traced.output), net(x.clone()))
    found = network.search(x, classes(3), mode="fr")
    assert [one.shape for one in found.gates.values()] == [(3, 3, 6, 6)] * 2
    assert bool((found.scores.diff() >= -1e-9).all())
    closed = {name: torch.zeros_like(one) for name, one in found.gates.items()}
    assert not torch.equal(forward(network.traced, x, closed, network.traced.output), net(x.clone()))


def test_two_relus_with_a_sum_that_overwrites_between_them_have_two_gates():
    net = filled(Ways(added_to), 0)
    network, x = GatedNetwork(net), images(3, 6)
    assert len(network.names) == 4
    assert torch.equal(forward(network.traced, x, {}, network.traced.output), net(x.clone()))
    assert bool((network.search(x, classes(3), mode="fr").scores.diff() >= -1e-9).all())


def test_gates_are_called_after_the_part_that_calls_and_numbered():
    assert GatedNetwork(resnet(0)).names[:5] == (
        "relu",
        "max_pool2d",
        "layer1.0.relu",
        "layer1.0.relu#2",
        "layer2.0.relu",
    )
    assert GatedNetwork(filled(Ways(WAYS["a module"]), 0)).names == ("act", "act#2")
    assert GatedNetwork(filled(Plain(), 0)).names == (
        "features.1", "features.3", "features.4", "features.6", "features.7", "classifier.1",
    )  # fmt: skip
    assert "features.4" not in GatedNetwork(filled(Plain(), 0), gate_maxpool=False).names


def test_a_signed_state_has_no_gate_of_its_own():
    """GUNN's: only ReLUs inside the units."""
    assert GatedNetwork(filled(Gradual(), 0)).names == ("units.0.2", "units.1.2")


def test_a_pool_of_signed_values_before_a_relu_has_no_gate():
    """As in LeNet-5; the gate of the ReLU does for both."""
    net = build_encoder("lenet5", n_classes=4, seed=0).double().eval()
    network = GatedNetwork(net)
    assert network.names == ("relu", "relu#2", "relu#3")
    for seed in range(10):
        scores = network.search(images(2, 32, seed), classes(2), mode="fr").scores
        assert bool((scores.diff() >= -1e-9).all())


def test_a_pool_of_signed_values_that_others_read_is_refused():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()
    with pytest.raises(UsageError, match="signed values") as caught:
        GatedNetwork(net)
    assert "1 of the traced network" in caught.value.where
    assert "put a ReLU before the max-pool" in caught.value.hint
    assert GatedNetwork(net, gate_maxpool=False).names == ("3",)


@pytest.mark.parametrize("arch", ["resnet_small", "resnet18", "resnet50", "resnet20", "vgg16", "vgg16_bn", "lenet5", "lenet300",
                                  "timm:resnet18", "timm:resnet26d"])  # fmt: skip
def test_the_architectures_here_have_gates(arch):
    pytest.importorskip("timm")
    side = 32 if arch.startswith(("lenet", "vgg", "resnet_small", "resnet20")) else 64
    net = build_encoder(arch, n_classes=4, seed=0).eval()
    network, x = GatedNetwork(net), images(1, side).float()
    assert torch.equal(forward(network.traced, x, {}, network.traced.output), net(x))
    scores = network.search(x, classes(1), mode="fr", max_sweeps=1).scores
    assert scores[0, 1] > scores[0, 0]


def test_a_network_that_was_compacted_has_gates():
    from tests.channels.nets import net as small
    from tests.channels.nets import some_channels
    from ticketcli.channels.compact import compact
    from ticketcli.channels.graph import channel_graph

    model = small("basic")
    found = compact(model, some_channels(channel_graph(model)))
    scores = GatedNetwork(found).search(images(2, 16), classes(2), mode="fr").scores
    assert bool((scores.diff() >= -1e-8).all())


def test_maps_that_pass_a_pool_by_module_or_by_function_have_the_same_gates():
    class ByModule(Pooled):
        def __init__(self):
            super().__init__()
            self.pool = nn.MaxPool2d(3, 2, 1)

        def forward(self, x):
            return self.head(F.relu(self.second(self.pool(F.relu(self.first(x))))).mean((2, 3)))

    one, other = (
        GatedNetwork(filled(kind(), 0)).search(images(2, 9), classes(2), mode="fr") for kind in (Pooled, ByModule)
    )
    for mine, theirs in zip(one.gates.values(), other.gates.values(), strict=True):
        assert torch.equal(mine, theirs)
