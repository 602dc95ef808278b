"""The baselines against their formulas, worked out with autograd and hooks alone."""

import pytest
import torch
from torch.nn import functional as F

from tests.explain.nets import Plain, Pooled, classes, filled, images, mlp, resnet
from tests.explain.test_recovering import hooked_guided_gradient
from ticketcli.errors import UsageError
from ticketcli.explain.baselines import BASELINES
from ticketcli.explain.maps import energy_map


def logits_of(net, x, target):
    return net(x).gather(1, target.classes[:, None]).sum()


@pytest.mark.parametrize("make", [lambda: filled(Plain(), 0), lambda: resnet(0), lambda: filled(Pooled(), 0)])
def test_gradient_is_the_networks_own(make):
    net, x, target = make(), images(3, 8), classes(3)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(logits_of(net, leaf, target), leaf)
    torch.testing.assert_close(BASELINES["gradient"](net, x, target), energy_map(expected), rtol=1e-12, atol=1e-12)


def test_guided_is_what_hooks_on_relus_make_of_it():
    net, x, target = filled(Plain(), 2), images(3, 8), classes(3)
    expected = energy_map(hooked_guided_gradient(net, x, target))
    torch.testing.assert_close(BASELINES["guided"](net, x, target), expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(expected, BASELINES["gradient"](net, x, target))


@pytest.mark.parametrize(("make", "last"), [(lambda: filled(Plain(), 0), "features.6"), (lambda: resnet(3), "layer2")])
def test_gradcam_is_its_formula_at_the_last_maps(make, last):
    net, x, target = make(), images(8, 16 if last == "layer2" else 8), classes(8)
    kept = []
    hook = net.get_submodule(last).register_forward_hook(lambda _part, _given, out: kept.append(out))
    total = logits_of(net, x, target)
    hook.remove()
    (slopes,) = torch.autograd.grad(total, kept[0])
    maps = []
    for activation, slope in zip(kept[0].detach(), slopes, strict=True):
        weights = slope.mean(dim=(1, 2))  # equation 1
        maps.append(torch.relu(sum(a * channel for a, channel in zip(weights, activation, strict=True))))  # equation 2
    large = F.interpolate(torch.stack(maps)[:, None], x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    expected = large / large.amax((1, 2), keepdim=True).clamp(min=1e-300)
    torch.testing.assert_close(BASELINES["gradcam"](net, x, target), expected, rtol=1e-12, atol=1e-12)
    assert float(expected.max()) == 1.0


def test_a_network_without_maps_has_no_gradcam():
    with pytest.raises(UsageError, match="last maps"):
        BASELINES["gradcam"](mlp(0), images(2, 2), classes(2))


@pytest.mark.parametrize("name", BASELINES)
def test_an_image_that_moves_nothing_has_a_map_of_zeros(name):
    net = filled(Plain(), 0)
    net.classifier[-1].weight.data[0] = 0.0
    found = BASELINES[name](net, images(2, 8), classes(2))
    assert bool((found[0] == 0).all())
    assert found.shape == (2, 8, 8)
    assert bool(((found >= 0) & (found <= 1)).all())
