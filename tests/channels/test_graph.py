import pytest
import torch
from torch import nn

from tests.channels.nets import NETS, net
from ticketcli.channels.graph import Consumer, channel_graph
from ticketcli.errors import UsageError
from ticketcli.models.architectures import build_encoder


def reasons(graph):
    return {one.conv: one.reason for one in graph.left_out}


@pytest.mark.parametrize(("kind", "n_groups"), [("resnet20", 18), ("basic", 8), ("bottleneck", 9), ("vgg", 2)])
def test_all_convolutions_but_stem_and_projections_have_channels_that_fall(kind, n_groups):
    model = net(kind)
    graph = channel_graph(model)
    assert len(graph.groups) == n_groups
    convs = {name for name, part in model.named_modules() if isinstance(part, nn.Conv2d)}
    assert convs == set(graph.channels) | set(reasons(graph))
    spared = {name for name in convs if name == "conv1" or "downsample" in name} or {"features.0"}
    assert set(reasons(graph)) == spared
    assert all(
        "stem" in why if name in ("conv1", "features.0") else "projection" in why
        for name, why in reasons(graph).items()
    )


def test_a_group_is_found_by_what_runs_and_not_by_the_order_of_modules():
    class Shuffled(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn_b, self.b = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
            self.bn_a, self.a = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
            self.stem, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

        def forward(self, x):
            x = self.bn_a(self.a(self.stem(x)))
            return self.head(self.bn_b(self.b(x.relu())).mean(dim=(2, 3)))

    graph = channel_graph(Shuffled())
    assert {group.conv: group.norm for group in graph.groups} == {"a": "bn_a", "b": "bn_b"}
    assert graph["a"].consumers == (Consumer("b"),)
    assert graph["b"].consumers == (Consumer("head"),)


def test_the_last_layer_of_a_block_joins_the_sum_and_inner_ones_do_not():
    graph = channel_graph(net("bottleneck"))
    for group in graph.groups:
        assert group.joins_sum == group.conv.endswith("conv3")
        assert bool(group.consumers) != group.joins_sum
    assert graph["layer1.0.conv1"].consumers == (Consumer("layer1.0.conv2"),)


def test_a_linear_layer_behind_a_flat_map_has_several_columns_a_channel():
    graph = channel_graph(net("vgg"))
    assert graph["features.7"].consumers == (Consumer("classifier.1", 4),)


def test_what_does_not_fall_is_left_out_with_a_reason():
    graph = channel_graph(net("mixed"))
    why = reasons(graph)
    assert "depthwise" in why["deep"]
    assert "more than once" in why["twice"]
    assert "no BatchNorm" in why["bare"]
    assert [group.conv for group in graph.groups] == ["wide", "few"]
    assert all(group.joins_sum for group in graph.groups)  # the concatenation


def test_channels_that_a_shared_layer_reads_keep_their_width():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.stem_bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
            self.conv, self.bn, self.shared = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            x = self.stem_bn(self.stem(x))
            return self.shared(self.bn(self.conv(x))), self.shared(x)

    assert channel_graph(Shared())["conv"].joins_sum


def test_a_weight_that_is_computed_is_left_alone():
    model = net("basic")
    torch.nn.utils.parametrizations.weight_norm(model.layer1[0].conv2)
    graph = channel_graph(model)
    assert "computed" in reasons(graph)["layer1.0.conv2"]
    assert graph["layer1.0.conv1"].joins_sum


def test_a_tap_keeps_its_width():
    class Tapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.conv, self.bn, self.head = (
                nn.Conv2d(3, 4, 1),
                nn.Conv2d(4, 4, 1),
                nn.BatchNorm2d(4),
                nn.Linear(4, 2),
            )

        def taps_and_logits(self, x):
            tap = self.bn(self.conv(self.stem(x)))
            return {"tap": tap}, self.head(tap.mean((2, 3)))

        def forward(self, x):
            return self.taps_and_logits(x)[1]

    assert channel_graph(Tapped())["conv"].joins_sum
    assert not channel_graph(Tapped(), method="forward")["conv"].joins_sum


def test_an_untraceable_network_is_an_error_that_names_the_part():
    class Undecided(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    model = nn.Sequential()
    model.add_module("first", nn.Conv2d(3, 4, 1))
    model.add_module("undecided", Undecided())
    with pytest.raises(UsageError, match=r"(?s)cannot be followed.*at: undecided.*must not depend on the values"):
        channel_graph(model)


def test_tracing_changes_nothing():
    model = net("basic").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    channel_graph(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(part.training for part in model.modules())


@pytest.mark.parametrize("arch", ["resnet50", "resnet56"])
def test_resnets_of_the_table_have_as_many_groups_as_published_code_instruments(arch):
    """BasicBlock: conv1 and conv2; Bottleneck: conv1, conv2 and conv3."""
    graph = channel_graph(build_encoder(arch, n_classes=2, seed=0))
    assert len(graph.groups) == {"resnet50": 48, "resnet56": 54}[arch]


def test_there_is_a_net_of_every_kind():
    for kind in NETS:
        assert channel_graph(net(kind)).groups


def test_a_timm_net_of_one_size_is_traced_past_the_check_of_that_size():
    pytest.importorskip("timm", reason="timm is not installed")
    model = build_encoder("timm:levit_128s", n_classes=3, seed=0)
    assert channel_graph(model).groups
    with pytest.raises(UsageError, match="takes images of 224 pixels"):
        model(torch.zeros(1, 3, 64, 64))
