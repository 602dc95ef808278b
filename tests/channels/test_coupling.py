"""Channels of a state that is renewed a segment at a time: who writes and reads them, and what falls with them."""

import pytest
import torch
from torch import nn

from tests.channels.nets import gunn, images, lived, masked, net, some_channels
from ticketcli.channels.compact import ScatteredTap, compact, shrink, widths
from ticketcli.channels.controls import controlled
from ticketcli.channels.counting import costs, total
from ticketcli.channels.graph import Consumer, channel_graph
from ticketcli.channels.group import Rows, Segment, Tapped
from ticketcli.channels.knockoffs.permute import permuted
from ticketcli.channels.masks import channels_of, expanded
from ticketcli.channels.scores import bn_scales, filter_norms
from ticketcli.errors import MismatchError, UsageError
from ticketcli.models.cost import macs_by_layer
from ticketcli.models.gunn_layer import GunnLayer
from ticketcli.models.rcnn import build_rcnn
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import copy_of, load_into
from ticketcli.tensors.seeds import generator

UNIT = "layer2.units.1"


def graph_of(kind="gunn"):
    return channel_graph(net(kind))


def test_a_segment_is_written_by_transition_unit_and_projection_and_read_by_all_units_and_what_follows():
    group = graph_of()[f"{UNIT}.conv3"]
    assert (group.channels, group.segment, group.joins_sum) == (4, Segment("layer2", 1), False)
    assert group.also == (
        Rows("transition2.0", "transition2.1", 3),
        Rows(f"{UNIT}.projection.0", f"{UNIT}.projection.1", 0),
    )
    readers = [f"layer2.units.{n}.{part}" for n in range(3) for part in ("conv1", "projection.0")]
    assert sorted(group.consumers, key=lambda one: one.name) == [
        Consumer(name, 1, 3) for name in sorted([*readers, "last.0"])
    ]
    assert group.taps == (Tapped("tap2", 3),)


def test_channels_within_a_unit_are_its_own_and_only_the_stem_is_left_out():
    graph = graph_of()
    assert graph[f"{UNIT}.conv1"].consumers == (Consumer(f"{UNIT}.conv2"),)
    assert [one.conv for one in graph.left_out] == ["conv1"]
    assert sum(group.segment is not None for group in graph.groups) == 3 + 3


def test_the_last_state_without_a_convolution_behind_it_is_read_by_the_head():
    group = graph_of("gunn-imagenet")["layer2.units.0.conv3"]
    assert Consumer("fc", 1, 0) in group.consumers


def test_elsewhere_a_split_and_a_sum_keep_their_width():
    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.conv, self.bn, self.head = (
                nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1),
            )  # fmt: skip

        def forward(self, x):
            parts = torch.split(self.bn(self.conv(self.stem(x))), [2, 2], dim=1)
            return self.head(torch.cat([parts[0] + parts[1], parts[1]], dim=1))

    assert channel_graph(Split())["conv"].joins_sum


def test_a_state_that_the_stem_writes_keeps_its_width():
    class Straight(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.bn, self.layer, self.head = (
                nn.Conv2d(3, 6, 1),
                nn.BatchNorm2d(6),
                GunnLayer(6, 2),
                nn.Conv2d(6, 2, 1),
            )

        def forward(self, x):
            return self.head(self.layer(self.bn(self.stem(x))))

    graph = channel_graph(Straight())
    assert graph["layer.units.0.conv3"].joins_sum
    assert not graph["layer.units.0.conv1"].joins_sum


def test_a_fallen_channel_of_the_state_is_zero_wherever_it_is_tapped_and_all_its_weights_fall():
    model = net("gunn")
    graph = channel_graph(model)
    channels = {f"{UNIT}.conv3": torch.tensor([True, False, True, True])}
    mask = expanded(model, graph, channels)
    tap = masked(model, mask).taps(images())["layer2"]
    assert not tap[:, 4].any()
    assert tap[:, 3].any()
    fallen = {name for name, bits in mask.items() if not bits.all()}
    written = {
        f"{name}.{what}"
        for name in ("transition2.1", f"{UNIT}.bn3", f"{UNIT}.projection.1")
        for what in ("weight", "bias")
    }
    written |= {f"{name}.weight" for name in ("transition2.0", f"{UNIT}.conv3", f"{UNIT}.projection.0", "last.0")}
    assert fallen == written | {
        f"layer2.units.{n}.{part}.weight" for n in range(3) for part in ("conv1", "projection.0")
    }
    assert not mask["layer2.units.0.conv1.weight"][:, 4].any()
    assert mask["layer2.units.0.conv1.weight"][:, [0, 1, 2, 3]].all()
    found = channels_of(graph, mask)
    assert all(
        torch.equal(found[name], channels.get(name, torch.ones(n, dtype=torch.bool)))
        for name, n in graph.channels.items()
    )


def test_a_channel_lives_as_long_as_one_of_its_rows_does():
    model = net("gunn")
    graph = channel_graph(model)
    mask = expanded(model, graph, {f"{UNIT}.conv3": torch.tensor([True, False, True, True])})
    arrays = {name: bits.copy() for name, bits in mask.items()}
    arrays["transition2.1.bias"][4] = True
    assert channels_of(graph, Mask(arrays))[f"{UNIT}.conv3"].all()


def test_segments_become_unequal_and_a_saved_network_is_loaded_into_a_shrunken_one():
    """G7."""
    model = net("gunn")
    channels = some_channels(channel_graph(model))
    small = compact(model, channels)
    assert [part.segments for part in small.modules() if isinstance(part, GunnLayer)] == [
        tuple(int(channels[f"layer{n}.units.{k}.conv3"].sum()) for k in range(3)) for n in (1, 2)
    ]
    again = shrink(net("gunn"), widths(channels))
    load_into(again, copy_of(small), where="saved")
    assert torch.equal(again(images()), small(images()))
    assert all(torch.equal(again.taps(images())[name], tap) for name, tap in small.taps(images()).items())
    assert small.facts["segments"]["layer1"] == list(small.layer1.segments)


def test_what_is_compact_is_made_smaller_once_more_and_taps_find_their_places():
    model = net("gunn")
    small = compact(model, some_channels(channel_graph(model), 0.3))
    graph = channel_graph(small)
    channels = some_channels(graph, 0.3, seed=1)
    whole, least = masked(small, expanded(small, graph, channels)), compact(small, channels)
    torch.testing.assert_close(least(images()), whole(images()), rtol=1e-6, atol=1e-6)
    for name, tap in whole.taps(images()).items():
        torch.testing.assert_close(least.taps(images())[name], tap, rtol=1e-6, atol=1e-6)
    assert isinstance(least.tap1, ScatteredTap)


@pytest.mark.parametrize("kind", ["gunn", "gunn-imagenet"])
def test_what_masks_say_of_costs_is_what_the_smaller_network_has(kind):
    model = net(kind)
    graph = channel_graph(model)
    channels = some_channels(graph)
    macs = macs_by_layer(model, torch.zeros(1, 3, 16, 16))
    found, small = total(costs(model, graph, channels, macs)), compact(model, channels)
    assert found.parameters_left == sum(weight.numel() for weight in small.parameters())
    own = total(costs(small, channel_graph(small), {}, macs_by_layer(small, torch.zeros(1, 3, 16, 16))))
    assert found.macs_left == own.macs


def test_a_channel_of_the_state_is_worth_what_all_that_write_it_are():
    model = net("gunn")
    graph = channel_graph(model)
    rows = torch.cat([
        model.transition2[0].weight[3:7].flatten(1), model.get_submodule(UNIT).conv3.weight.flatten(1),
        model.get_submodule(UNIT).projection[0].weight.flatten(1),
    ], dim=1)  # fmt: skip
    torch.testing.assert_close(filter_norms(model, graph, order=1)[f"{UNIT}.conv3"], rows.abs().sum(dim=1) / 3)
    torch.testing.assert_close(filter_norms(model, graph, order=2)[f"{UNIT}.conv3"], rows.norm(dim=1) / 3**0.5)
    unit = model.get_submodule(UNIT)
    gammas = model.transition2[1].weight[3:7].abs() + unit.bn3.weight.abs() + unit.projection[1].weight.abs()
    torch.testing.assert_close(bn_scales(model, graph)[f"{UNIT}.conv3"], gammas / 3)


def test_all_that_write_a_channel_are_blended_by_one_share():
    model = net("gunn")
    graph = channel_graph(model)
    seen = {}
    with torch.no_grad(), controlled(model, graph) as controls:
        for beta in controls.betas.values():
            beta.fill_(1.0)
        torch.testing.assert_close(controls.logits(images(), permuted, generator(0, "test")), model(images()))
        controls.betas[f"{UNIT}.conv3"][1] = 0.0
        names = ("transition2.1", f"{UNIT}.bn3", f"{UNIT}.projection.1", "layer2.units.0.bn3")
        hooks = [
            model.get_submodule(name).register_forward_pre_hook(
                lambda _, given, name=name: seen.update({name: given[0]})
            )
            for name in names
        ]
        controls.logits(images(), permuted, generator(0, "test"))
    for hook in hooks:
        hook.remove()
    blended = {name: [row for row in range(x.shape[1]) if torch.equal(*x[:, row].chunk(2))] for name, x in seen.items()}
    assert blended == {names[0]: [4], names[1]: [1], names[2]: [1], names[3]: []}


def test_an_empty_segment_is_an_error_and_so_is_a_mask_of_the_wrong_segment():
    model = net("gunn")
    with pytest.raises(UsageError, match=r"no channel of 'layer2.units.1.conv3' would be left"):
        compact(model, {f"{UNIT}.conv3": torch.zeros(4, dtype=torch.bool)})
    with pytest.raises(MismatchError, match="has 4 channels"):
        compact(model, {f"{UNIT}.conv3": torch.ones(6, dtype=torch.bool)})


def test_a_detector_stands_on_a_compact_network_as_on_the_whole_one():
    model = lived(gunn("cifar-6-12/3-2+4+6"))
    small = compact(model, some_channels(channel_graph(model))).float()
    rcnn = build_rcnn(small, n_classes=2, masks=False, channels=8, image_size=32, seed=0)
    levels = rcnn.backbone(torch.randn(1, 3, 32, 32))
    assert [tuple(level.shape[1:]) for level in levels.values()] == [(8, 32, 32), (8, 16, 16), (8, 8, 8)]
