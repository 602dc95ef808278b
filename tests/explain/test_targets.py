"""What a target reads: a logit, a unit before its ReLU, the sum of a channel."""

import pytest
import torch

from tests.explain.nets import Plain, filled, images, mlp, resnet
from ticketcli.explain.search import GatedNetwork
from ticketcli.explain.targets import NeuronTarget


def value_of(net, part, x):
    """What a part returns."""
    found = []
    hook = net.get_submodule(part).register_forward_hook(lambda _part, _given, out: found.append(out.clone()))
    net(x)
    hook.remove()
    return found[0]


@pytest.mark.parametrize("layer", ["features.2", "features.3"])
def test_a_unit_is_read_before_its_relu_by_the_name_of_the_relu_or_of_the_layer(layer):
    net, x = filled(Plain(), 0), images(3, 8)
    found = GatedNetwork(net).search(x, NeuronTarget(layer, 2, 3, 4), mode="fr", max_sweeps=1)
    assert torch.equal(found.scores[:, 0], value_of(net, "features.2", x)[:, 2, 3, 4])
    assert list(found.gates) == ["features.1"]
    assert bool((found.scores[:, 1] >= found.scores[:, 0]).all())


def test_a_channel_is_its_sum_and_a_unit_of_a_vector_has_no_place():
    net, x = filled(Plain(), 0), images(3, 8)
    network = GatedNetwork(net)
    sums = network.search(x, NeuronTarget("features.5", 1), mode="fr", max_sweeps=1).scores[:, 0]
    torch.testing.assert_close(sums, value_of(net, "features.5", x)[:, 1].sum((1, 2)))
    units = network.search(x, NeuronTarget("classifier.0", 1), mode="fr", max_sweeps=1).scores[:, 0]
    assert torch.equal(units, value_of(net, "classifier.0", x)[:, 1])


def test_a_block_that_ends_in_a_relu_is_read_before_it_under_every_one_of_its_names():
    net, x = resnet(0), images(2, 16)
    network = GatedNetwork(net)
    last, given = net.layer2[1], value_of(net, "layer2.0", x)
    expected = last.bn2(last.conv2(torch.relu(last.bn1(last.conv1(given))))) + given
    for layer in ("layer2", "layer2.1", "layer2.1.relu#2"):
        found = network.search(x, NeuronTarget(layer, 1), mode="fr")
        torch.testing.assert_close(found.scores[:, 0], expected[:, 1].sum((1, 2)))
        assert bool((found.scores.diff() >= -1e-9).all())
        assert "layer2.1.relu#2" not in found.gates
        assert "layer2.1.relu" in found.gates


def test_a_unit_whose_gates_are_none_has_a_score_and_nothing_to_move():
    net, x = mlp(0), images(2, 2)
    found = GatedNetwork(net).search(x, NeuronTarget("1", 3), mode="fr")
    assert found.gates == {}
    assert bool(found.converged.all())
    torch.testing.assert_close(found.input_gradient.flatten(1)[0], net[1].weight[3])


def test_every_mode_takes_units_too():
    network = GatedNetwork(filled(Plain(), 0))
    for mode in ("fr", "fsp", "fsp-fr"):
        found = network.search(images(2, 8), NeuronTarget("classifier.0", 1), mode=mode)
        assert bool(torch.isfinite(found.scores).all())
    assert found.scores.shape == (2, 4)
