import numpy as np
import pytest
import torch

from tests.channels.nets import NETS, images, masked, net, some_channels
from ticketcli.channels.graph import channel_graph
from ticketcli.channels.masks import channels_of, expanded
from ticketcli.errors import MismatchError
from ticketcli.models.architectures import prunable
from ticketcli.store.mask import Mask


@pytest.mark.parametrize("kind", NETS)
def test_channels_come_back_from_the_weight_mask(kind):
    model = net(kind)
    graph = channel_graph(model)
    channels = some_channels(graph)
    back = channels_of(graph, expanded(model, graph, channels))
    assert all(torch.equal(back[name], living) for name, living in channels.items())


def test_a_fallen_filter_takes_scale_shift_and_columns_with_it():
    model = net("vgg")
    graph = channel_graph(model)
    living = torch.ones(10, dtype=torch.bool)
    living[3] = False
    mask = expanded(model, graph, {"features.7": living})
    fallen = {
        name: array.size - kept for (name, array), kept in zip(mask.items(), mask.kept_by_name.values(), strict=True)
    }
    assert {name: n for name, n in fallen.items() if n} == {
        "features.7.weight": 12 * 9, "features.7.bias": 1, "features.8.weight": 1, "features.8.bias": 1,
        "classifier.1.weight": 4 * 16,
    }  # fmt: skip
    assert not mask["classifier.1.weight"][:, 12:16].any()


def test_zero_filters_alone_would_still_speak():
    """The trap: relu(beta - gamma mu / sigma)."""
    model = net("basic")
    graph = channel_graph(model)
    channels = {"layer1.0.conv1": torch.arange(8) > 3}
    mask = expanded(model, graph, channels)
    rows = Mask({"layer1.0.conv1.weight": mask["layer1.0.conv1.weight"]})
    with torch.no_grad():
        off = masked(model, rows)(images()) - masked(model, mask)(images())
    assert float(off.abs().max()) > 1e-3


def test_the_mask_names_all_that_is_asked_for_and_spares_a_head():
    model = net("vgg")
    graph = channel_graph(model)
    channels = some_channels(graph)
    mask = expanded(model, graph, channels, names=["classifier.3.weight"], spared=["classifier.1"])
    assert mask["classifier.3.weight"].all()
    assert "classifier.1.weight" not in mask
    assert all(torch.equal(channels_of(graph, mask)[name], living) for name, living in channels.items())
    with pytest.raises(MismatchError, match=r"the network has no 'classifier.9.weight'"):
        expanded(model, graph, channels, names=["classifier.9.weight"])


def test_thinned_out_channels_live_as_long_as_one_weight_does():
    model = net("basic")
    graph = channel_graph(model)
    full = expanded(model, graph, {}, names=prunable(model))
    arrays = {name: array.copy() for name, array in full.items()}
    for name in ("layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer1.0.bn1.bias", "layer1.0.conv2.weight"):
        rows = arrays[name] if name != "layer1.0.conv2.weight" else arrays[name].swapaxes(0, 1)
        rows[:2] = False
    assert channels_of(graph, Mask(arrays))["layer1.0.conv1"].tolist() == [False] * 2 + [True] * 6
    arrays["layer1.0.conv2.weight"][5, 1, 0, 0] = True
    arrays["layer1.0.conv1.weight"][:, 0] = False
    assert channels_of(graph, Mask(arrays))["layer1.0.conv1"].tolist() == [False] + [True] * 7
    assert all(living.all() for name, living in channels_of(graph, Mask(arrays)).items() if name != "layer1.0.conv1")


def test_a_mask_without_batchnorm_is_no_mask_of_channels():
    model = net("basic")
    weights = Mask({name: np.ones(tuple(w.shape), dtype=bool) for name, w in prunable(model).items()})
    with pytest.raises(MismatchError, match=r"says nothing of 'layer1.0.bn1.weight'"):
        channels_of(channel_graph(model), weights)
