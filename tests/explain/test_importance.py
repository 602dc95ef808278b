"""What channels add to a score: known answers, and where a channel is judged."""

import pytest
import torch
from torch import nn

from tests.channels import nets
from tests.explain.nets import Gradual, classes, filled, images, resnet
from ticketcli.channels.graph import channel_graph
from ticketcli.errors import UsageError
from ticketcli.explain.importance import contributions
from ticketcli.explain.score import score_of
from ticketcli.explain.search import GatedNetwork
from ticketcli.explain.sweeps import Pass


def chain():
    """A network whose last maps are averaged and weighed: what channels add there is known."""
    return filled(nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4),
    ), 0)  # fmt: skip


def searched(net, x, target):
    gated = GatedNetwork(net)
    return gated, gated.search(x, target, mode="fr", max_sweeps=60, tolerance=0.0)


def test_behind_the_last_maps_it_is_weight_times_mean_where_the_weight_is_positive():
    net, x, target = chain(), images(4), classes(4)
    gated, found = searched(net, x, target)
    added = contributions(gated, x, target, found.gates, ["4"])["4"]
    first = torch.relu(net[1](net[0](x))) * found.gates["2"]
    means = torch.relu(net[4](net[3](first))).mean((2, 3))
    torch.testing.assert_close(added, (net[-1].weight[target.classes] * means).clamp(min=0))


def test_what_channels_add_at_the_last_gate_is_the_score_without_its_bias():
    net, x, target = resnet(1), images(4, 16), classes(4)
    gated, found = searched(net, x, target)
    assert bool(found.converged.all())
    added = contributions(gated, x, target, found.gates, ["layer2.1.bn2"])["layer2.1.bn2"]
    torch.testing.assert_close(added.sum(1) + net.fc.bias[target.classes], found.scores[:, -1])


@pytest.mark.parametrize("sweeps", [1, 60])
@pytest.mark.parametrize("part", ["layer1.0.bn1", "layer1.0.bn2", "layer2.0.bn1", "layer2.0.bn2", "layer2.1.bn1"])
def test_a_channel_is_judged_at_the_gate_that_reads_it(part, sweeps):
    """Sum of max(G, 0) x, G and x taken from a pass of their own; x is what the gate is given, open or not."""
    net, x, target = resnet(1), images(3, 16), classes(3)
    gated = GatedNetwork(net)
    found = gated.search(x, target, mode="fr", max_sweeps=sweeps, tolerance=0.0)
    gate = {"bn1": "relu", "bn2": "relu#2"}[part[-3:]]
    name, slopes = f"{part[:-4]}.{gate}", {}

    def look(of, gradient, is_open, positive):
        slopes[of] = gradient
        return gradient * is_open

    Pass(gated.traced, x, score_of(gated.traced, target, 3), found.gates).back(look)
    through = gated.activations(x, target, {**found.gates, name: torch.ones_like(found.gates[name])}, [name])[0]
    expected = (slopes[name].clamp(min=0) * through).sum((2, 3))
    assert float(expected.max()) > 0
    torch.testing.assert_close(contributions(gated, x, target, found.gates, [part])[part], expected)


def test_removing_a_channel_lowers_the_score_by_no_more_than_its_worth_where_gates_are_all_it_goes_through():
    """Exact in the last layer: the worth is what the logit loses."""
    net, x, target = chain(), images(3), classes(3)
    gated, found = searched(net, x, target)
    added = contributions(gated, x, target, found.gates, ["4"])["4"]
    score = score_of(gated.traced, target, 3)
    for channel in range(5):
        gates = {**found.gates, "5": found.gates["5"].clone()}
        gates["5"][:, channel] = False
        lost = found.scores[:, -1] - Pass(gated.traced, x, score, gates).scores
        torch.testing.assert_close(lost, added[:, channel], rtol=1e-9, atol=1e-12)


def test_a_channel_that_no_gate_reads_is_judged_where_it_is():
    """The state of a gradual update is signed: what its first layer writes is read by convolutions and sums."""
    net, x, target = filled(Gradual(), 0), images(3), classes(3)
    gated, found = searched(net, x, target)
    kept = []
    added = contributions(gated, x, target, found.gates, ["norm", "units.0.1"])
    assert added["norm"].shape == (3, 6)
    assert added["units.0.1"].shape == (3, 4)

    net.norm.register_forward_hook(lambda _part, _given, out: kept.append(out))
    gates = {f"units.{k}.2": found.gates[f"units.{k}.2"] for k in range(2)}
    for k in range(2):
        net.units[k][2].register_forward_hook(lambda _part, _given, out, k=k: out * gates[f"units.{k}.2"])
    total = net(x).gather(1, target.classes[:, None]).sum()
    (slope,) = torch.autograd.grad(total, kept[0])
    torch.testing.assert_close(added["norm"], (slope * kept[0]).clamp(min=0).sum((2, 3)).detach())


def faded(layer, shares):
    """A GUNN layer whose state's channels are multiplied by shares [N, C, h, w], whoever writes them."""

    def forward(state):
        share = shares.expand(len(state), -1, *state.shape[2:]).split(layer.segments, 1)
        pieces = [one * piece for one, piece in zip(share, state.split(layer.segments, 1), strict=True)]
        for place, unit in enumerate(layer.units):
            pieces[place] = pieces[place] + share[place] * unit(torch.cat(pieces, 1))
        return torch.cat(pieces, 1)

    return forward


@pytest.mark.parametrize("kind", ["gunn", "gunn-imagenet"])
def test_a_channel_that_several_write_is_worth_what_the_score_loses_as_all_of_them_fade(kind):
    """A GUNN's state: the transition's part, the unit's and the projection's; by autograd of the plain network."""
    net, x, target = nets.net(kind), images(3, 16), classes(3)
    groups = [one for one in channel_graph(net).groups if one.segment is not None]
    names = [one.norm for one in groups]
    added = contributions(GatedNetwork(net), x, target, {}, names, names)
    assert len(groups) == sum(len(net.get_submodule(name).segments) for name in net.tap_names)
    for name in net.tap_names:
        layer, sizes = net.get_submodule(name), []
        layer.register_forward_hook(lambda _part, given, _out, sizes=sizes: sizes.append(given[0].shape))
        net(x)
        shares = torch.ones(sizes[0], dtype=torch.float64, requires_grad=True)
        layer.forward = faded(layer, shares)
        (slope,) = torch.autograd.grad(net(x).gather(1, target.classes[:, None]).sum(), shares)
        del layer.forward
        expected = slope.clamp(min=0).sum((2, 3)).split(layer.segments, 1)
        for group in groups:
            if group.segment.layer == name:
                assert float(expected[group.segment.place].max()) > 0
                torch.testing.assert_close(added[group.norm], expected[group.segment.place], rtol=1e-9, atol=1e-12)


def test_a_dead_channel_adds_exactly_nothing():
    net, x, target = resnet(1), images(3, 16), classes(3)
    net.layer1[0].bn1.weight.data[2] = 0.0
    net.layer1[0].bn1.bias.data[2] = -1.0
    net.layer1[0].conv2.weight.data[:, 1] = 0.0
    gated, found = searched(net, x, target)
    added = contributions(gated, x, target, found.gates, ["layer1.0.bn1"])["layer1.0.bn1"]
    assert bool((added[:, 2] == 0).all())  # never active
    assert bool((added[:, 1] == 0).all())  # never read
    assert float(added.max()) > 0


def test_channels_that_change_places_change_their_worth_with_them():
    net, x, target = resnet(1), images(3, 16), classes(3)
    order, other = torch.tensor([2, 0, 3, 1]), resnet(1)
    block = other.layer1[0]
    block.conv1.weight.data = block.conv1.weight.data[order]
    for values in (block.bn1.weight, block.bn1.bias, block.bn1.running_mean, block.bn1.running_var):
        values.data = values.data[order]
    block.conv2.weight.data = block.conv2.weight.data[:, order]
    worth = []
    for one in (net, other):
        gated, found = searched(one, x, target)
        worth.append(contributions(gated, x, target, found.gates, ["layer1.0.bn1"])["layer1.0.bn1"])
    torch.testing.assert_close(worth[1], worth[0][:, order])


def test_every_layer_whose_channels_can_fall_has_a_worth():
    net, x, target = resnet(0), images(2, 16), classes(2)
    gated, found = searched(net, x, target)
    parts = [one.norm for one in channel_graph(net).groups]
    added = contributions(gated, x, target, found.gates, parts)
    assert list(added) == parts
    for group in channel_graph(net).groups:
        assert added[group.norm].shape == (2, group.channels)
        assert added[group.norm].dtype == torch.float64
        assert bool((added[group.norm] >= 0).all())


def test_a_part_that_the_score_does_not_go_through_is_refused():
    net, x, target = resnet(0), images(2, 16), classes(2)
    gated, found = searched(net, x, target)
    with pytest.raises(UsageError, match=r"does not go through 'layer9\.bn1'"):
        contributions(gated, x, target, found.gates, ["layer9.bn1"])
