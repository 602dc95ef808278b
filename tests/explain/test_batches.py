"""A batch is its images, one by one; and nothing of the network that was given changes."""

import copy
import gc
import weakref

import pytest
import torch

from tests.explain.nets import Plain, classes, filled, images, mlp, resnet
from ticketcli.explain import sweeps
from ticketcli.explain.score import score_of
from ticketcli.explain.search import GatedNetwork
from ticketcli.explain.targets import ClassTarget, NeuronTarget

KINDS = {
    "fr": {"mode": "fr"},
    "fr, threshold and border": {"mode": "fr", "ratio": 0.1, "border": True},
    "fsp": {"mode": "fsp"},
    "fsp, threshold": {"mode": "fsp", "ratio": 1.0},
    "fsp as published": {"mode": "fsp", "guard": "none"},
    "fsp-fr": {"mode": "fsp-fr", "ratio": 1.0},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_its_images_one_by_one(kind):
    """F6."""
    for net, side in ((resnet(0), 16), (filled(Plain(), 0), 8), (mlp(0), 2)):
        network, x, target = GatedNetwork(net), images(5, side), classes(5)
        together = network.search(x, target, **KINDS[kind])
        for row in range(5):
            alone = network.search(x[row : row + 1], ClassTarget(target.classes[row : row + 1]), **KINDS[kind])
            n = alone.scores.shape[1]
            torch.testing.assert_close(together.scores[row, :n], alone.scores[0], rtol=1e-10, atol=1e-10)
            assert bool((together.scores[row, n:] == together.scores[row, n - 1]).all())
            for name, gates in together.gates.items():
                assert torch.equal(gates[row], alone.gates[name][0]), (row, name)
            torch.testing.assert_close(together.input_gradient[row], alone.input_gradient[0], rtol=1e-9, atol=1e-9)
            assert together.converged[row] == alone.converged[0]


def test_images_are_finished_at_different_sweeps():
    """Else the test above would not see that finished ones keep their results."""
    found = GatedNetwork(mlp(0)).search(images(8, 2), classes(8), mode="fr", tolerance=0.0)
    assert len({int((row.diff() != 0).sum()) for row in found.scores}) > 1


def test_a_sweep_is_one_forward_and_one_backward_of_the_whole_batch(monkeypatch):
    """And a last of each, with the gates that were found."""
    counted = {"forward": 0, "back": 0}
    forward, back = sweeps.forward, sweeps.Pass.back
    monkeypatch.setattr(
        sweeps, "forward", lambda *given: counted.update(forward=counted["forward"] + 1) or forward(*given)
    )
    monkeypatch.setattr(sweeps.Pass, "back", lambda *given: counted.update(back=counted["back"] + 1) or back(*given))
    found = GatedNetwork(resnet(0)).search(images(4, 16), classes(4), mode="fr", max_sweeps=3, tolerance=0.0)
    n = found.scores.shape[1] - 1
    assert counted == {"forward": n + 1, "back": n + 1}


def everything(net):
    """All that a network holds, its tensors and modes, hooks and slopes."""
    return {
        "tensors": {name: value.clone() for name, value in net.state_dict(keep_vars=False).items()},
        "places": {name: value.data_ptr() for name, value in net.state_dict().items()},
        "learns": {name: value.requires_grad for name, value in net.named_parameters()},
        "slopes": {name: value.grad for name, value in net.named_parameters()},
        "modules": {name: id(part) for name, part in net.named_modules()},
        "modes": {name: part.training for name, part in net.named_modules()},
        "hooks": {name: len(part._forward_hooks) + len(part._backward_hooks) + len(part._forward_pre_hooks)
                  for name, part in net.named_modules()},
        "others": {name: set(vars(part)) for name, part in net.named_modules()},
    }  # fmt: skip


def test_the_network_is_left_exactly_as_it_was():
    """F9."""
    net, x = resnet(0), images(2, 16)
    before, answer = everything(net), net(x)
    network = GatedNetwork(net)
    for mode in ("fr", "fsp", "fsp-fr"):
        network.search(x, classes(2), mode=mode)
    network.search(x, NeuronTarget("layer2.0", 1), mode="fr")
    after = everything(net)
    for name, value in before.pop("tensors").items():
        assert torch.equal(value, after["tensors"][name])
    after.pop("tensors")
    assert after == before
    assert torch.equal(net(x), answer)


def test_images_given_are_left_as_they_were():
    x = images(2, 16)
    before = x.clone()
    GatedNetwork(resnet(0)).search(x, classes(2), mode="fr")
    assert torch.equal(x, before)
    assert not x.requires_grad


def test_weights_are_shared_and_not_copied():
    net = resnet(0)
    network = GatedNetwork(net)
    inner = dict(network.traced.module.named_parameters())
    assert all(inner[name].data_ptr() == value.data_ptr() for name, value in net.named_parameters())
    assert not any(value.requires_grad for value in inner.values())


def test_a_forward_that_nothing_goes_back_from_is_freed():
    """What gates ask on the way back must not hold the graph, which holds the gates."""
    network = GatedNetwork(mlp(0))
    gc.collect()
    gc.disable()
    try:
        one = sweeps.Pass(network.traced, images(2, 2), score_of(network.traced, classes(2), 2), {})
        held = weakref.ref(one._images)
        del one
        assert held() is None
    finally:
        gc.enable()


def test_a_copy_of_the_network_gives_the_same_gates():
    net, x = resnet(1), images(2, 16)
    one, other = (GatedNetwork(each).search(x, classes(2), mode="fr") for each in (net, copy.deepcopy(net)))
    assert all(torch.equal(one.gates[name], other.gates[name]) for name in one.gates)
