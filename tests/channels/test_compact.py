import copy

import pytest
import torch

from tests.channels.nets import NETS, images, masked, net, some_channels
from ticketcli.channels.compact import ScatteredNorm, compact, shrink, widths
from ticketcli.channels.graph import channel_graph
from ticketcli.channels.masks import expanded
from ticketcli.errors import MismatchError, UsageError
from ticketcli.models.folding import folded
from ticketcli.tensors.files import copy_of, load_into


def both(kind, fraction=0.4):
    model = net(kind)
    graph = channel_graph(model)
    channels = some_channels(graph, fraction)
    return masked(model, expanded(model, graph, channels)), compact(model, channels), channels


@pytest.mark.parametrize("fraction", [0.4, 0.9])
@pytest.mark.parametrize("kind", NETS)
def test_the_compact_network_says_what_the_masked_one_says(kind, fraction):
    """S8."""
    whole, small, _ = both(kind, fraction)
    x = images()
    with torch.no_grad():
        torch.testing.assert_close(small(x), whole(x), rtol=1e-6, atol=1e-6)
        assert not torch.equal(whole(x), net(kind)(x))
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in whole.parameters())


@pytest.mark.parametrize("kind", ["resnet20", "bottleneck", "gunn", "gunn-imagenet"])
def test_taps_keep_their_width_and_their_values(kind):
    """S8, for those who read maps."""
    whole, small, _ = both(kind)
    for name, tap in whole.taps(images()).items():
        torch.testing.assert_close(small.taps(images())[name], tap, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", NETS)
def test_it_trains_as_the_masked_one_does(kind):
    """S8, in train mode: gradients of the weights that are left, and statistics."""
    whole, small, channels = both(kind)
    for model in (whole, small):
        model.train()
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.eval()
        model(images(4)).square().sum().backward()
    graph = channel_graph(net(kind))
    for group in graph.groups:
        kept = channels[group.conv]
        theirs, ours = whole.get_submodule(group.norm), small.get_submodule(group.norm)
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad[kept], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(ours.running_var, theirs.running_var[kept])


def test_it_leaves_the_given_network_alone():
    model = net("basic")
    before, twin = copy_of(model), copy.deepcopy(model)
    small = compact(model, some_channels(channel_graph(model)))
    for parameter in small.parameters():
        parameter.data.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert str(model) == str(twin)
    assert type(small) is type(model)


def test_a_saved_compact_network_is_loaded_into_a_shrunken_one():
    _, small, channels = both("bottleneck")
    other = net("bottleneck")
    loaded = shrink(other, widths(channels))
    assert not torch.equal(loaded(images()), small(images()))
    load_into(loaded, copy_of(small), where="saved")
    assert torch.equal(loaded(images()), small(images()))


def test_names_of_parameters_stay_and_places_are_saved_beside_them():
    model = net("basic")
    small = compact(model, some_channels(channel_graph(model)))
    new = set(small.state_dict()) - set(model.state_dict())
    assert set(model.state_dict()) <= set(small.state_dict())
    assert new == {f"{group.norm}.places" for group in channel_graph(model).groups if group.joins_sum}


def test_folding_does_not_lose_the_zeros_that_channels_are_scattered_into():
    _, small, _ = both("basic")
    torch.testing.assert_close(folded(small)(images()), small(images()))


def test_the_layout_of_maps_is_kept():
    model = net("basic")
    small = compact(model, some_channels(channel_graph(model)))
    norm = next(part for part in small.modules() if isinstance(part, ScatteredNorm))
    x = images(2, 4).new_ones(2, norm.num_features, 4, 4)
    assert norm(x).is_contiguous()
    assert norm(x.to(memory_format=torch.channels_last)).is_contiguous(memory_format=torch.channels_last)


def test_frozen_weights_stay_frozen():
    model = net("basic").requires_grad_(False)
    assert not any(p.requires_grad for p in compact(model, some_channels(channel_graph(model))).parameters())


def test_all_channels_living_change_nothing():
    model = net("basic")
    small = compact(model, {name: torch.ones(n, dtype=torch.bool) for name, n in channel_graph(model).channels.items()})
    assert str(small) == str(model)
    assert torch.equal(small(images()), model(images()))


def test_an_empty_layer_is_an_error():
    model = net("basic")
    with pytest.raises(UsageError, match=r"no channel of 'layer1.0.conv1' would be left"):
        compact(model, {"layer1.0.conv1": torch.zeros(8, dtype=torch.bool)})


@pytest.mark.parametrize(
    ("name", "n", "match"),
    [
        ("conv1", 8, "do not fall: it is the stem"),
        ("layer9", 8, "no channels of"),
        ("layer1.0.conv1", 7, "has 8 channels"),
    ],
)
def test_masks_of_another_network_are_refused(name, n, match):
    with pytest.raises(MismatchError, match=match):
        compact(net("basic"), {name: torch.ones(n, dtype=torch.bool)})


@pytest.mark.parametrize("wanted", [{"layer1.0.conv1": 9}, {"layer1.0.conv1": 0}, {"layer9": 3}])
def test_widths_of_another_network_are_refused(wanted):
    with pytest.raises(MismatchError, match="channels"):
        shrink(net("basic"), wanted)
