import pytest
import torch
from torch import nn

from tests.channels.nets import NETS, images, net, some_channels
from ticketcli.channels.choice import drop_lowest
from ticketcli.channels.compact import compact
from ticketcli.channels.counting import costs, total
from ticketcli.channels.graph import channel_graph
from ticketcli.channels.scores import scales
from ticketcli.models.architectures import build_encoder
from ticketcli.models.cost import macs, macs_by_layer, one_image, parameters
from ticketcli.models.resnet import ResNet
from ticketcli.models.resnet_shape import Shape
from ticketcli.models.table import architecture
from ticketcli.tensors.seeds import generator


@pytest.mark.parametrize("kind", NETS)
def test_what_is_counted_is_what_the_compact_network_has(kind):
    model = net(kind)
    graph = channel_graph(model)
    channels = some_channels(graph)
    cost = total(costs(model, graph, channels, macs_by_layer(model, images(1))))
    assert (cost.parameters, cost.macs) == (parameters(model), macs(model, images(1)))
    small = compact(model, channels)
    assert (cost.parameters_left, cost.macs_left) == (parameters(small), macs(small, images(1)))


# architecture, rate, recomputed with rule 7 [%]: parameters, multiply-adds; as published [%], and how near that is
RATES = [
    ("resnet34", 0.30, (39.72, 39.15), (39.7, 39.1), 0.1),
    ("resnet34", 0.35, (45.54, 44.75), (45.6, 44.8), 0.1),
    ("resnet50", 0.35, (42.80, 45.40), (42.8, 45.3), 0.15),
    ("resnet50", 0.45, (52.23, 55.57), (51.8, 54.6), 1.0),  # published ones belong to a rate slightly below
    ("resnet101", 0.35, (46.76, 48.61), (46.8, 48.6), 0.1),
    ("resnet101", 0.457, (57.63, 60.08), (57.8, 60.2), 0.2),
    ("resnet18", 0.35, (44.99, 43.52), (45.0, 43.5), 0.1),  # published the other way round: parameters 43.5, FLOPs 45.0
    ("resnet18", 0.30, (39.28, 38.13), (39.3, 38.8), 0.7),
    ("resnet20 with bare projections", 0.45, (56.28, 55.80), (56.3, 55.7), 0.15),
    ("resnet20", 0.45, (56.81, 56.16), (56.3, 55.7), 0.55),  # without projections there is less that stays
]


def bare_projections():
    """What the published figures of ResNet-20 are about: 1x1 convolutions without BatchNorm as shortcuts."""
    model = ResNet(Shape((3, 3, 3), (16, 32, 64), stem=3), 10, generator(0, "test net"))
    for name in ("layer2", "layer3"):
        model.set_submodule(f"{name}.0.downsample.1", nn.Identity())
    return model


@pytest.fixture(scope="module")
def measured():
    """Architecture -> network, graph and multiply-adds by layer; without values, for only shapes count."""
    found = {}

    def of(arch):
        if arch not in found:
            side = architecture(arch.partition(" ")[0]).image_size
            plain = " " not in arch
            model = build_encoder(arch, n_classes=10 if side == 32 else 1000, seed=0) if plain else bare_projections()
            found[arch] = (model, channel_graph(model), macs_by_layer(model, one_image(side)))
        return found[arch]

    return of


@pytest.mark.parametrize(("arch", "rate", "recomputed", "published", "apart"), RATES)
def test_the_reductions_are_those_recomputed_from_the_rates(measured, arch, rate, recomputed, published, apart):
    """S9."""
    model, graph, by_layer = measured(arch)
    gammas = scales(model, graph)
    channels = drop_lowest(gammas, gammas, rate)
    cost = total(costs(model, graph, channels, by_layer))
    found = (100 * cost.parameter_reduction, 100 * cost.mac_reduction)
    assert found == pytest.approx(recomputed, abs=0.01)
    assert found == pytest.approx(published, abs=apart)


def test_counting_leaves_the_network_as_it_was():
    model = net("basic").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    macs_by_layer(model, images(1))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(part.training and not part._forward_hooks for part in model.modules())
