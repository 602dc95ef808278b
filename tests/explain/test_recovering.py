"""FR: no sweep lowers the score, the first is guided backpropagation, and what has no positive gradient is closed."""

import pytest
import torch
from torch import nn

from tests.explain.nets import Gradual, Plain, Pooled, classes, counter_example, filled, images, mlp, resnet
from ticketcli.explain.baselines import guided_gradient
from ticketcli.explain.passes import forward
from ticketcli.explain.score import score_of
from ticketcli.explain.search import GatedNetwork
from ticketcli.explain.sweeps import Pass, Rules, proposals
from ticketcli.explain.targets import ClassTarget


def worst_step(net, x, target, **settings):
    """The largest fall of a score in one sweep, and how many sweeps there were."""
    found = GatedNetwork(net, **settings).search(x, target, mode="fr", max_sweeps=8, tolerance=0.0)
    return float(-found.scores.diff(dim=1).min()), found.scores.shape[1] - 1


def test_no_sweep_lowers_the_score_of_200_random_networks():
    """F1."""
    n_sweeps = 0
    for seed in range(140):
        fall, n = worst_step(mlp(seed), images(3, 2, seed), classes(3))
        assert fall <= 1e-9, seed
        n_sweeps += n
    for seed in range(40):
        kind = {"stem": (3, 7)[seed % 2], "block": ("basic", "bottleneck")[seed // 2 % 2]}
        assert worst_step(resnet(seed, **kind), images(2, 16, seed), classes(2))[0] <= 1e-8, kind
    for seed in range(20):
        for net in (Pooled(), Gradual()):
            assert worst_step(filled(net, seed), images(2, 9, seed), classes(2))[0] <= 1e-9, seed
    assert n_sweeps > 300


def test_without_a_gate_behind_an_overlapping_pool_a_sweep_can_lower_the_score():
    """F3: why pools have gates."""
    falls = [worst_step(filled(Pooled(), seed), images(2, 9, seed), classes(2), gate_maxpool=False)[0]
             for seed in range(40)]  # fmt: skip
    assert max(falls) > 1e-3
    assert sum(fall > 1e-9 for fall in falls) >= 3


def hooked_guided_gradient(net, x, target):
    """Guided backpropagation by hooks on ReLUs."""
    hooks = [
        part.register_full_backward_hook(lambda _part, given, _out: (given[0].clamp(min=0),))
        for part in net.modules()
        if isinstance(part, nn.ReLU)
    ]
    x = x.clone().requires_grad_()
    net(x).gather(1, target.classes[:, None]).sum().backward()
    for hook in hooks:
        hook.remove()
    return x.grad


@pytest.mark.parametrize("gate_maxpool", [False, True])
def test_the_first_sweeps_image_gradient_is_guided_backpropagation(gate_maxpool):
    """F2; pools that do not overlap change nothing."""
    net, x, target = filled(Plain(), 0), images(3, 8), classes(3)
    network = GatedNetwork(net, gate_maxpool=gate_maxpool).traced
    first = Pass(network, x, score_of(network, target, 3), {}).back(proposals(Rules("fr"), {}))
    expected = hooked_guided_gradient(net, x, target)
    assert float(expected.abs().max()) > 1e-3
    torch.testing.assert_close(first, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(guided_gradient(net, x, target), expected, rtol=0, atol=1e-12)


def test_a_closed_gate_opens_again_when_its_gradient_turns_positive():
    """G is the gradient behind the gate; the old gate times it would keep the gate closed for ever."""
    reopened = 0
    for seed in range(10):
        network = GatedNetwork(mlp(seed))
        before = network.search(images(3, 2, seed), classes(3), mode="fr", max_sweeps=1).gates
        after = network.search(images(3, 2, seed), classes(3), mode="fr", max_sweeps=8).gates
        reopened += sum(int((after[name] & ~before[name]).sum()) for name in before)
    assert reopened > 0


def test_fr_finds_what_fsp_misses_in_the_counter_example():
    net, x, target = counter_example()
    assert GatedNetwork(net).search(x, target, mode="fr").scores[0].tolist()[-1] == 5.0


def test_an_image_without_a_positive_gradient_has_all_gates_closed_and_its_score_is_the_bias():
    """F7: beside another image that goes on."""
    net = mlp(0)
    with torch.no_grad():
        net[-1].weight[0] = -net[-1].weight[0].abs() - 0.1
        net[-1].bias[0] = -3.0
    for ratio in (0.0, 1.0):
        for mode in ("fr", "fsp"):
            found = GatedNetwork(net).search(images(2, 2), ClassTarget(torch.tensor([0, 1])), mode=mode, ratio=ratio)
            assert all(not one[0].any() for one in found.gates.values())
            assert any(one[1].any() for one in found.gates.values())
            assert float(found.scores[0, -1]) == -3.0
            assert bool(found.converged[0])
            assert bool((found.input_gradient[0] == 0).all())
            assert all(bool(torch.isfinite(one).all()) for one in (found.scores, *found.open_share.values()))
            assert all(float(share[0]) == 0 for share in found.open_share.values())


def test_open_gates_are_the_plain_network_to_the_bit():
    """F8."""
    for net, side in ((resnet(0), 16), (filled(Plain(), 0), 8), (mlp(0), 2), (filled(Gradual(), 0), 9)):
        network = GatedNetwork(net)
        x = images(3, side)
        found = forward(network.traced, x, {}, network.traced.output)
        assert torch.equal(found, net(x))
        scores = network.search(x, classes(3), mode="fr", max_sweeps=1).scores
        assert torch.equal(scores[:, 0], net(x).gather(1, classes(3).classes[:, None])[:, 0])


def test_the_image_gradient_is_that_of_the_network_with_the_found_gates():
    net, x = filled(Plain(), 1), images(2, 8)
    network = GatedNetwork(net)
    found = network.search(x, classes(2), mode="fr", max_sweeps=2)
    step = 1e-6 * images(2, 8, seed=5)
    score = score_of(network.traced, classes(2), 2)
    there, back = (Pass(network.traced, x + sign * step, score, found.gates).scores for sign in (1, -1))
    torch.testing.assert_close((found.input_gradient * step).sum((1, 2, 3)), (there - back) / 2, rtol=1e-5, atol=1e-12)
    torch.testing.assert_close(Pass(network.traced, x, score, found.gates).scores, found.scores[:, -1])


def test_shares_count_units_that_are_active():
    net, x = mlp(3), images(2, 2)
    found = GatedNetwork(net).search(x, classes(2), mode="fr", max_sweeps=1)
    active = net[:2](x) > 0
    expected = (active & found.gates["2"]).sum(1) / active.sum(1)
    assert torch.equal(found.open_share["2"], expected)
    assert list(found.gates) == ["2", "4", "6"]
