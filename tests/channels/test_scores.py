import pytest
import torch

from tests.channels.nets import net
from ticketcli.channels.graph import channel_graph
from ticketcli.channels.scores import (
    bn_scales,
    discovery_threshold,
    filter_norms,
    random_scores,
    scales,
    scop_scores,
)
from ticketcli.errors import MismatchError


@pytest.fixture
def model():
    found = net("basic")
    found.get_parameter("layer1.0.bn1.weight").data[:3] *= -1
    return found


def test_filter_norms_are_those_of_each_filter(model):
    weight = model.get_parameter("layer1.0.conv1.weight").detach()
    graph = channel_graph(model)
    torch.testing.assert_close(filter_norms(model, graph, order=1)["layer1.0.conv1"], weight.abs().sum((1, 2, 3)))
    torch.testing.assert_close(
        filter_norms(model, graph, order=2)["layer1.0.conv1"], weight.square().sum((1, 2, 3)).sqrt()
    )


def test_scop_weighs_the_control_with_the_size_of_the_scale(model):
    graph = channel_graph(model)
    betas = {name: torch.full((n,), 0.75, dtype=torch.float64) for name, n in graph.channels.items()}
    found = scop_scores(model, graph, betas)["layer1.0.conv1"]
    torch.testing.assert_close(found, 0.5 * scales(model, graph)["layer1.0.conv1"].abs())
    assert float(found.min()) > 0
    torch.testing.assert_close(bn_scales(model, graph)["layer1.0.conv1"], 2 * found)


def test_random_scores_are_a_function_of_seed_layer_and_channel(model):
    graph = channel_graph(model)
    first, again, other = (random_scores(graph, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layer1.0.conv1"], other["layer1.0.conv1"])
    assert not torch.equal(first["layer1.0.conv1"], first["layer1.0.conv2"])


def test_controls_that_are_missing_are_an_error(model):
    with pytest.raises(MismatchError, match=r"the controls of 'layer1.0.conv1' are none"):
        scop_scores(model, channel_graph(model), {})


def test_the_threshold_of_false_discoveries_is_worked_out_by_hand():
    scores = torch.tensor([-0.2, -0.1, 0.1, 0.3, 0.4, 0.5, 0.6])
    assert discovery_threshold(scores, 0.25) == pytest.approx(0.3)  # (1 + 0) / 4
    assert discovery_threshold(scores, 0.4) == pytest.approx(0.3)
    assert discovery_threshold(scores, 0.6) == pytest.approx(0.1)  # (1 + 2) / 5
    assert discovery_threshold(scores, 0.2) == float("inf")
