"""FSP: gates only close, the published sweep can lower the score, and the guard does not let it."""

import pytest
import torch

from tests.explain.nets import classes, counter_example, images, mlp, resnet
from ticketcli.explain.score import score_of
from ticketcli.explain.search import GatedNetwork
from ticketcli.explain.sweeps import Pass, Rules, sweep_until_still


def test_the_published_sweep_falls_from_four_and_a_half_to_nothing():
    """F4, the smallest counter-example to the published proof."""
    net, x, target = counter_example()
    found = GatedNetwork(net).search(x, target, mode="fsp", guard="none")
    assert found.scores[0, :2].tolist() == [4.5, 0.0]


def test_the_guard_keeps_the_layer_that_would_lower_the_score_as_it_was():
    net, x, target = counter_example()
    found = GatedNetwork(net).search(x, target, mode="fsp", guard="backtrack")
    assert found.scores[0, 0] == 4.5
    assert found.scores[0, -1] >= 4.5
    assert bool((found.scores.diff() >= 0).all())
    assert bool(found.converged)
    once = GatedNetwork(net).search(x, target, mode="fsp", guard="backtrack", max_sweeps=1)
    assert once.gates["2"][0].tolist() == [True, True]  # published: [False, True]
    assert once.gates["4"][0].tolist() == [True, False]
    assert once.scores[0].tolist() == [4.5, 5.0]


def test_gates_only_close_and_sweeps_come_to_an_end():
    """F5."""
    for seed in range(30):
        net, x = (mlp(seed), images(3, 2, seed)) if seed % 3 else (resnet(seed), images(2, 16, seed))
        network, before = GatedNetwork(net), None
        for sweeps in (1, 2, 50):
            found = network.search(x, classes(len(x)), mode="fsp", max_sweeps=sweeps, guard="none", tolerance=0.0)
            if before is not None:
                assert all(not (found.gates[name] & ~before[name]).any() for name in before)
            before = found.gates
        assert bool(found.converged.all())
        assert found.scores.shape[1] < 50


def test_with_the_guard_no_sweep_lowers_a_score_and_without_some_do():
    falls = {"none": 0, "backtrack": 0}
    for seed in range(120):
        network = GatedNetwork(mlp(seed, (6, 6)))
        for guard in falls:
            found = network.search(images(8, 2, seed), classes(8), mode="fsp", guard=guard, tolerance=0.0)
            falls[guard] += int((found.scores.diff() < 0).sum())
    assert falls["backtrack"] == 0
    assert falls["none"] > 0


def by_hand(network, x, score, names):
    """One guarded sweep of one image: layer by layer in the order of `names`, each kept that lowers nothing."""
    published = sweep_until_still(network.traced, x, score, Rules("fsp", 1, guard="none")).gates
    gates = {name: torch.ones_like(one) for name, one in published.items()}
    best = Pass(network.traced, x, score, gates).scores
    if Pass(network.traced, x, score, published).scores >= best:
        return published
    for name in names:
        reached = Pass(network.traced, x, score, {**gates, name: published[name]}).scores
        if reached >= best:
            gates[name], best = published[name], reached
    return gates


def test_the_guard_takes_layers_from_the_image_on():
    differ = 0
    for seed in range(60):
        network = GatedNetwork(mlp(seed, (6, 6, 6)))
        for row in images(8, 2, seed).split(1):
            score = score_of(network.traced, classes(1), 1)
            found = sweep_until_still(network.traced, row, score, Rules("fsp", 1)).gates
            first, last = (by_hand(network, row, score, names) for names in (network.names, network.names[::-1]))
            assert all(torch.equal(one, first[name]) for name, one in found.items())
            differ += any(not torch.equal(one, last[name]) for name, one in first.items())
    assert differ > 0


def test_a_sweep_moves_every_layer_by_the_gradients_of_the_same_forward():
    """z_new = [z P G > 0], G taken with the old gates: checked against autograd of the plain network."""
    net, x = mlp(1), images(2, 2)
    network = GatedNetwork(net)
    score = score_of(network.traced, classes(2), 2)
    swept = sweep_until_still(network.traced, x, score, Rules("fsp", 1, guard="none"))
    values, hooks = {}, []
    for name in ("1", "3", "5"):
        hooks.append(
            net.get_submodule(name).register_forward_hook(lambda _p, _g, out, name=name: values.update({name: out}))
        )
    total = net(x).gather(1, classes(2).classes[:, None]).sum()
    for name, slope in zip(values, torch.autograd.grad(total, list(values.values())), strict=True):
        assert torch.equal(swept.gates[str(int(name) + 1)], slope > 0)


@pytest.mark.parametrize("mode", ["fr", "fsp"])
def test_a_threshold_is_a_share_of_the_layers_mean_positive_gradient_image_by_image(mode):
    net, x = mlp(2), images(3, 2)
    network = GatedNetwork(net)
    gates = {ratio: network.search(x, classes(3), mode=mode, max_sweeps=1, ratio=ratio, guard="none").gates["6"]
             for ratio in (0.0, 1e-12, 1.0)}  # fmt: skip
    slopes = net[-1].weight[classes(3).classes]
    if mode == "fsp":
        slopes = slopes * (net[:-1](x) > 0)
    means = torch.stack([row[row > 0].mean() for row in slopes])
    assert torch.equal(gates[0.0], slopes > 0)
    assert torch.equal(gates[1e-12], slopes > 0)
    assert torch.equal(gates[1.0], slopes >= means[:, None])
    assert not torch.equal(gates[0.0], gates[1.0])


@pytest.mark.parametrize("mode", ["fr", "fsp"])
def test_the_border_of_maps_is_left_out(mode):
    network = GatedNetwork(resnet(0, stem=3))
    found = network.search(images(2, 12), classes(2), mode=mode, max_sweeps=1, border=True)
    plain = network.search(images(2, 12), classes(2), mode=mode, max_sweeps=1)
    for name, one in found.gates.items():
        edge = one.clone()
        edge[:, :, 1:-1, 1:-1] = False
        assert not edge.any(), name
        if mode == "fsp":
            assert torch.equal(one[:, :, 1:-1, 1:-1], plain.gates[name][:, :, 1:-1, 1:-1])
