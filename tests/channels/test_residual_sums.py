"""Channels of residual sums: who writes and reads them, what falls with them, and which sums keep their width."""

import copy

import pytest
import torch
from torch import nn

from tests.channels.nets import images, lived, masked, net, some_channels
from ticketcli.channels.compact import ScatteredTap, compact, shrink, widths
from ticketcli.channels.counting import costs, total
from ticketcli.channels.graph import Consumer, channel_graph
from ticketcli.channels.group import Rows, Tapped
from ticketcli.channels.masks import channels_of, expanded
from ticketcli.channels.scores import bn_scales, filter_norms
from ticketcli.models.architectures import build_encoder
from ticketcli.models.cost import macs_by_layer
from ticketcli.models.rcnn import build_rcnn
from ticketcli.tensors.files import copy_of, load_into

KINDS = ["basic", "bottleneck"]


def graph_of(model):
    return channel_graph(model, residual=True)


def test_a_stage_is_written_by_its_blocks_and_the_shortcut_and_read_by_blocks_and_what_follows():
    group = graph_of(net("bottleneck"))["layer1.1.conv3"]
    assert (group.channels, group.joins_sum, group.segment, group.falls_from_a_sum) == (32, False, None, True)
    assert group.also == (
        Rows("layer1.0.conv3", "layer1.0.bn3"),
        Rows("layer1.0.downsample.0", "layer1.0.downsample.1"),
    )
    assert group.consumers == tuple(map(Consumer, ("layer1.1.conv1", "layer2.0.conv1", "layer2.0.downsample.0")))
    assert group.taps == (Tapped("tap1"),)


def test_every_convolution_is_in_one_group_or_left_out():
    model = net("bottleneck")
    graph = graph_of(model)
    written = [rows.conv for group in graph.groups for rows in group.producers] + [one.conv for one in graph.left_out]
    assert sorted(written) == sorted(name for name, part in model.named_modules() if isinstance(part, nn.Conv2d))
    assert [one.conv for one in graph.left_out] == ["conv1"]


def test_a_sum_that_the_stem_enters_and_one_with_a_padded_shortcut_keep_their_width():
    graph = graph_of(net("basic"))
    assert graph["layer1.0.conv2"].joins_sum
    assert graph["layer2.1.conv2"].falls_from_a_sum
    assert graph_of(net("resnet20")) == channel_graph(net("resnet20"))


def test_nobody_loses_channels_of_a_sum_who_did_not_ask():
    assert not any(group.also for kind in KINDS for group in channel_graph(net(kind)).groups)


@pytest.mark.parametrize("change", ["tapped", "called twice", "no norm"])
def test_a_sum_whose_channels_somebody_needs_keeps_its_width(change):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(4, 6, 1)
            self.one_bn = nn.BatchNorm2d(6)
            self.two_bn = nn.Identity() if change == "no norm" else nn.BatchNorm2d(6)
            self.head = nn.Conv2d(6, 2, 1)

        def forward(self, x):
            x = self.stem(x)
            y = self.two_bn(self.two(x))
            y = self.one_bn(self.one(x)) + y
            if change == "called twice":
                return self.head(y) + self.head(y)
            return (self.head(y), y) if change == "tapped" else self.head(y)

    assert not any(group.falls_from_a_sum for group in graph_of(Odd()).groups)


class Joined(nn.Module):
    """A sum of two convolutions, and what follows it, as the tests below have it."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(4, 6, 1)
        self.one_bn, self.two_bn, self.third_bn = (nn.BatchNorm2d(6) for _ in range(3))
        self.relu, self.third, self.head = nn.ReLU(), nn.Conv2d(6, 6, 1), nn.Linear(6, 2)

    def sum(self, x):
        x = self.stem(x)
        return self.relu(self.one_bn(self.one(x)) + self.two_bn(self.two(x)))

    def end(self, x):
        return self.head(x.mean((2, 3)))


class NormBehind(Joined):
    def forward(self, x):
        return self.end(self.third(self.third_bn(self.sum(x))))


class TwoNorms(Joined):
    def forward(self, x):
        x = self.stem(x)
        return self.end(self.third_bn(self.one_bn(self.one(x))) + self.two_bn(self.two(x)))


class SharedNorm(Joined):
    def forward(self, x):
        return self.end(self.one_bn(self.third(self.sum(x))))


class SharedHead(Joined):
    def forward(self, x):
        y = self.sum(x)
        return self.end(y) + self.end(self.third_bn(self.third(y)))


class ComputedHead(Joined):
    def __init__(self):
        super().__init__()
        self.head = nn.utils.parametrizations.weight_norm(self.head)

    def forward(self, x):
        return self.end(self.sum(x))


@pytest.mark.parametrize("kind", [NormBehind, TwoNorms, SharedNorm, SharedHead, ComputedHead])
def test_a_sum_that_a_layer_reads_which_cannot_be_cut_for_it_keeps_its_width(kind):
    model = lived(kind())
    graph = graph_of(model)
    assert not any(group.falls_from_a_sum for group in graph.groups)
    channels = some_channels(graph)
    whole, small = masked(model, expanded(model, graph, channels)), compact(model, channels, graph=graph)
    torch.testing.assert_close(small(images()), whole(images()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_compact_network_says_what_the_masked_one_says_and_its_taps_keep_their_width(kind):
    model = net(kind)
    graph = graph_of(model)
    channels = some_channels(graph)
    whole, small = masked(model, expanded(model, graph, channels)), compact(model, channels, graph=graph)
    torch.testing.assert_close(small(images()), whole(images()), rtol=1e-9, atol=1e-9)
    for name, tap in whole.taps(images()).items():
        torch.testing.assert_close(small.taps(images())[name], tap, rtol=1e-9, atol=1e-9)
    assert isinstance(small.tap2, ScatteredTap)
    assert sum(one.numel() for one in small.parameters()) < sum(one.numel() for one in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_as_the_masked_one_does(kind):
    model = net(kind)
    graph = graph_of(model)
    channels = some_channels(graph)
    mask = expanded(model, graph, channels)
    whole, small = masked(model, mask).train(), compact(model, channels, graph=graph).train()
    for one in (whole, small):
        one(images()).square().sum().backward()
    place = "layer2.0.conv1.weight"
    alive = torch.from_numpy(mask[place].copy())
    found = dict(small.named_parameters())[place].grad
    torch.testing.assert_close(dict(whole.named_parameters())[place].grad[alive], found.flatten())


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_network_is_loaded_into_a_shrunken_one_and_made_smaller_once_more(kind):
    model = net(kind)
    first = some_channels(graph_of(model), 0.3)
    small = compact(model, first, graph=graph_of(model))
    again = shrink(net(kind), widths(first), graph=graph_of(net(kind)))
    load_into(again, copy_of(small), where="saved")
    assert torch.equal(again(images()), small(images()))
    graph = graph_of(again)
    second = some_channels(graph, 0.3, seed=1)
    whole, least = masked(again, expanded(again, graph, second)), compact(again, second, graph=graph)
    torch.testing.assert_close(least(images()), whole(images()), rtol=1e-6, atol=1e-6)
    for name, tap in whole.taps(images()).items():
        torch.testing.assert_close(least.taps(images())[name], tap, rtol=1e-6, atol=1e-6)
        assert tap.shape == model.taps(images())[name].shape


@pytest.mark.parametrize("kind", KINDS)
def test_what_masks_say_is_what_was_meant_and_what_the_smaller_network_costs(kind):
    model = net(kind)
    graph = graph_of(model)
    channels = some_channels(graph)
    found = channels_of(graph, expanded(model, graph, channels))
    assert all(torch.equal(found[name], channels[name]) for name in channels)
    macs = macs_by_layer(model, torch.zeros(1, 3, 16, 16))
    cost, small = total(costs(model, graph, channels, macs)), compact(model, channels, graph=graph)
    assert cost.parameters_left == sum(weight.numel() for weight in small.parameters())
    own = total(costs(small, graph_of(small), {}, macs_by_layer(small, torch.zeros(1, 3, 16, 16))))
    assert cost.macs_left == own.macs


def test_a_channel_of_a_sum_is_worth_what_all_that_write_it_are():
    model = net("bottleneck")
    graph = graph_of(model)
    writers = [model.layer1[1].conv3, model.layer1[0].conv3, model.layer1[0].downsample[0]]
    rows = torch.cat([conv.weight.flatten(1) for conv in writers], dim=1)
    torch.testing.assert_close(filter_norms(model, graph, order=2)["layer1.1.conv3"], rows.norm(dim=1) / 3**0.5)
    norms = [model.layer1[1].bn3, model.layer1[0].bn3, model.layer1[0].downsample[1]]
    gammas = torch.stack([norm.weight.abs() for norm in norms]).mean(dim=0)
    torch.testing.assert_close(bn_scales(model, graph)["layer1.1.conv3"], gammas)


def test_logits_alone_do_not_pay_for_the_width_of_taps(monkeypatch):
    model = net("bottleneck")
    graph = graph_of(model)
    small = compact(model, some_channels(graph), graph=graph)
    called = []
    monkeypatch.setattr(ScatteredTap, "forward", lambda self, x: called.append(self) or x)
    small(images())
    assert not called
    small.taps(images())
    assert len(called) == 2


def test_a_detector_stands_on_a_compact_network_as_on_the_whole_one():
    model = lived(build_encoder("resnet_small", n_classes=5, seed=0))
    graph = graph_of(model)
    small = compact(copy.deepcopy(model), some_channels(graph), graph=graph).float()
    rcnn = build_rcnn(small, n_classes=2, masks=False, channels=8, image_size=32, seed=0)
    levels = rcnn.backbone(torch.randn(1, 3, 32, 32))
    assert {level.shape[1] for level in levels.values()} == {8}
