"""FSP, then FR: where the search hands over, what it selects, and what comes out."""

import pytest
import torch

from tests.explain.nets import Gradual, Plain, classes, filled, images, mlp, resnet
from ticketcli.errors import UsageError
from ticketcli.explain.middle import ends_of_resolutions, meeting_gates, middle_of
from ticketcli.explain.pipeline import Selection, separate_maps
from ticketcli.explain.score import score_of
from ticketcli.explain.search import GatedNetwork
from ticketcli.explain.sweeps import Pass, Rules, sweep_until_still
from ticketcli.explain.thresholds import opened
from ticketcli.models.architectures import build_encoder


def middle(arch, side):
    network = GatedNetwork(build_encoder(arch, n_classes=4, seed=0).eval())
    found = network.search(images(1, side).float(), classes(1), mode="fr", max_sweeps=1)
    traced = network.traced
    chosen = middle_of(traced, traced.output, found.gates)
    return (
        chosen,
        [name for name in network.names if name in chosen.upper],
        ends_of_resolutions(traced, traced.output, found.gates),
    )


def test_the_middle_of_vgg_is_the_authors():
    """conv5_1; stage 1 begins with conv4_3."""
    chosen, upper, ends = middle("vgg16", 64)
    assert chosen.gate.name == "features.25"
    assert upper[0] == "features.22"
    assert upper[-1] == "classifier.4"
    assert ends == ["features.8", "features.15", "features.22"]


def test_the_middle_of_a_resnet_ends_its_first_block_of_the_smallest_maps():
    chosen, upper, ends = middle("resnet50", 64)
    assert chosen.gate.name == "layer4.0.relu#3"
    assert upper[0] == "layer3.5.relu#3"
    assert ends == ["layer1.2.relu#3", "layer2.3.relu#3", "layer3.5.relu#3"]


def test_all_ways_meet_behind_a_block_and_not_within():
    traced = GatedNetwork(resnet(0)).traced
    assert [one.name for one in meeting_gates(traced, traced.output)] == [
        "relu", "layer1.0.relu#2", "layer2.0.relu#2", "layer2.1.relu#2",
    ]  # fmt: skip


def test_there_are_three_steps_and_the_last_has_frs_gates_below_the_middle_and_fsps_from_there():
    network, x = GatedNetwork(resnet(0)), images(3, 16)
    found = network.search(x, classes(3), mode="fsp-fr", ratio=1.0)
    traced = network.traced
    selection = Selection(traced, x, score_of(traced, classes(3), 3), Rules(ratio=1.0), None)
    name = selection.middle.gate.name
    order = list(found.gates)
    assert order == list(network.names)
    assert found.scores.shape == (3, 4)
    assert torch.equal(found.scores[:, :3], selection.scores)
    assert all(torch.equal(found.gates[one], selection.gates[one]) for one in order[order.index(name) :])
    assert any(not torch.equal(found.gates[one], selection.gates[one]) for one in order[: order.index(name)])


def test_stage_one_moves_the_upper_gates_alone():
    network, x = GatedNetwork(filled(Plain(), 0)), images(2, 8)
    traced = network.traced
    score = score_of(traced, classes(2), 2)
    upper = {"features.6", "classifier.1"}
    found = sweep_until_still(traced, x, score, Rules("fsp", 1), movable=upper).gates
    assert all(bool(one.all()) != (name in upper) for name, one in found.items())


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_selected_are_neurons_whose_gradient_is_a_share_of_the_mean_of_the_positive_ones(ratio):
    network, x = GatedNetwork(resnet(2)), images(6, 16)
    traced, found, fewer = network.traced, {}, 0
    score = score_of(traced, classes(6), 6)
    selection = Selection(traced, x, score, Rules(ratio=ratio, guard="none"), "layer1.0.relu#2")

    def look(name, gradient, is_open, positive):
        found[name] = gradient * is_open * positive
        return gradient * is_open

    Pass(traced, x, score, selection.gates).back(look)
    for slopes, strengths in zip(found["layer1.0.relu#2"], selection.strengths, strict=True):
        positive = slopes[slopes > 0]
        chosen = (slopes > 0) & (slopes >= ratio * positive.sum() / max(1, len(positive)))
        assert torch.equal(strengths, slopes * chosen)
        assert int(chosen.sum()) < slopes.numel()
        fewer += int(chosen.sum()) < len(positive)
    assert torch.equal(selection.score.chosen, selection.strengths > 0)
    assert (fewer > 0) == (ratio > 0)


def test_what_the_authors_did_can_be_asked_for():
    """Specification 1.4 and 1.5: FSP's stages at ratio 1, the selection and one sweep of FR at 0.1, unguarded."""
    network, x = GatedNetwork(resnet(2)), images(6, 16)
    traced, found = network.traced, {}
    score = score_of(traced, classes(6), 6)
    stages = Selection(traced, x, score, Rules(ratio=1.0, guard="none"))  # FSP alone is looked at

    def look(name, gradient, is_open, positive):
        found[name] = gradient * is_open * positive
        return gradient * is_open

    Pass(traced, x, score, stages.gates).back(look)
    slopes = found[stages.middle.gate.name]
    chosen = Selection(traced, x, score, Rules(ratio=0.1, guard="none"), fsp_ratio=1.0)
    assert torch.equal(chosen.strengths, slopes * opened(slopes, 0.1))
    assert not torch.equal(chosen.strengths, stages.strengths)
    below = sweep_until_still(traced, x, chosen.score, Rules("fr", max_sweeps=1, ratio=0.1)).gates
    asked = network.search(
        x, classes(6), mode="fsp-fr", max_sweeps=1, ratio=0.1, fsp_ratio=1.0, guard="none"
    )  # fmt: skip
    for name, gates in asked.gates.items():
        assert torch.equal(gates, below.get(name, stages.gates[name])), name
    alike = network.search(x, classes(6), mode="fsp-fr", max_sweeps=1, ratio=0.1, guard="none")
    assert any(not torch.equal(gates, alike.gates[name]) for name, gates in asked.gates.items())


@pytest.mark.parametrize("ratio", [-1.0, float("inf")])
def test_a_ratio_of_fsp_that_makes_no_sense_is_refused(ratio):
    with pytest.raises(UsageError, match=f"ratio 0 and {ratio:g} make no sense"):
        GatedNetwork(resnet(0)).search(images(1, 16), classes(1), mode="fsp-fr", fsp_ratio=ratio)


def test_separate_maps_are_the_largest_energy_of_each_neuron_alone_whatever_the_batch():
    network, x = GatedNetwork(filled(Plain(), 0)), images(2, 8)
    traced = network.traced
    rules = Rules(ratio=1.0, max_sweeps=3)
    selection = Selection(traced, x, score_of(traced, classes(2), 2), rules, "features.3")
    maps = [separate_maps(traced, x, selection, rules, most=5, batch=batch) for batch in (1, 2, 16)]
    for one in maps[1:]:
        torch.testing.assert_close(one, maps[0], rtol=1e-9, atol=1e-12)
    fewer = separate_maps(traced, x, selection, rules, most=1, batch=1)
    assert bool((fewer <= maps[0] + 1e-12).all())
    assert not torch.equal(fewer, maps[0])
    scaled = network.separate_map(x, classes(2), most=5, max_sweeps=3, middle="features.3")
    torch.testing.assert_close(scaled, maps[0] / maps[0].amax((1, 2), keepdim=True))


def test_no_more_neurons_than_the_cap_are_searched_for(monkeypatch):
    from ticketcli.explain import pipeline

    seen = []
    sweep = pipeline.sweep_until_still
    network, x = GatedNetwork(filled(Plain(), 0)), images(1, 8)
    selection = Selection(network.traced, x, score_of(network.traced, classes(1), 1), Rules(), "features.3")
    assert int((selection.strengths > 0).sum()) > 7
    monkeypatch.setattr(pipeline, "sweep_until_still", lambda *given: seen.append(len(given[1])) or sweep(*given))
    separate_maps(network.traced, x, selection, Rules(max_sweeps=1), most=7, batch=3)
    assert seen == [3, 3, 1]


def test_an_image_for_which_nothing_is_selected_has_a_map_of_zeros():
    net = filled(Plain(), 0)
    net.classifier[-1].weight.data[0] = 0.0
    network = GatedNetwork(net)
    found = network.search(images(2, 8), classes(2), mode="fsp-fr", ratio=1.0)
    assert bool((found.input_gradient[0] == 0).all())
    assert not bool((found.input_gradient[1] == 0).all())
    assert bool(torch.isfinite(found.scores).all())
    assert bool((network.separate_map(images(2, 8), classes(2), most=2)[0] == 0).all())


def test_networks_without_maps_and_with_a_signed_state_have_a_middle():
    assert GatedNetwork(mlp(0)).search(images(2, 2), classes(2), mode="fsp-fr").scores.shape == (2, 4)
    with pytest.raises(UsageError, match="all ways to the target meet"):
        GatedNetwork(filled(Gradual(), 0)).search(images(2, 9), classes(2), mode="fsp-fr")
    named = GatedNetwork(filled(Gradual(), 0)).search(images(2, 9), classes(2), mode="fsp-fr", middle="units.1.2")
    assert named.scores.shape == (2, 4)


def test_a_middle_that_is_no_relu_before_the_target_is_refused():
    with pytest.raises(UsageError, match=r"no ReLU 'features\.4'"):
        GatedNetwork(filled(Plain(), 0)).search(images(2, 8), classes(2), mode="fsp-fr", middle="features.4")


def test_activations_are_what_gates_let_through():
    net, x = filled(Plain(), 0), images(2, 8)
    network = GatedNetwork(net)
    found = network.search(x, classes(2), mode="fsp")
    (first,) = network.activations(x, classes(2), found.gates, ["features.1"])
    torch.testing.assert_close(first, net.features[:2](x) * found.gates["features.1"])
    with pytest.raises(UsageError, match=r"no gate 'features\.99'"):
        network.activations(x, classes(2), found.gates, ["features.99"])
    with pytest.raises(UsageError, match="no maps"):
        GatedNetwork(mlp(0)).activations(
            images(2, 2), classes(2), {name: torch.ones(2, 1) > 0 for name in ("2", "4", "6")}
        )
