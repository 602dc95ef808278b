"""What a GUNN computes, against sections 4.1 and 4.2 of the specification, written out with functions alone."""

import pytest
import torch
from torch.nn import functional as F

from tests.explain.nets import filled
from ticketcli.models.architectures import build_encoder
from ticketcli.models.gunn_layer import GunnLayer, GunnUnit
from ticketcli.tensors.seeds import generator


def drawn(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=generator(0, "test gunn formula"))


def made(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return filled(make(), 0)


def conv_bn(values, conv, norm, x, **how):
    """A convolution without bias, and BatchNorm by its running statistics."""
    y = F.conv2d(x, values[f"{conv}.weight"], **how)
    mean, var, weight, bias = (values[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
    shape = (1, -1, 1, 1)
    return (y - mean.view(shape)) / (var + 1e-5).sqrt().view(shape) * weight.view(shape) + bias.view(shape)


def unit(values, at, x, projects):
    """1x1, BN, ReLU, 3x3, BN, ReLU, 1x1, BN; and the projection 1x1, BN beside it; no ReLU after the sum."""
    y = F.relu(conv_bn(values, f"{at}conv1", f"{at}bn1", x))
    y = F.relu(conv_bn(values, f"{at}conv2", f"{at}bn2", y, padding=1))
    y = conv_bn(values, f"{at}conv3", f"{at}bn3", y)
    return y + conv_bn(values, f"{at}projection.0", f"{at}projection.1", x) if projects else y


def layer(values, at, x, segments, projects):
    """y_i = x_i + F_i([y_1 .. y_(i-1), x_i .. x_S]), i from 1 on: one state, its segments overwritten in turn."""
    state, start = x.clone(), 0
    for place, size in enumerate(segments):
        update = unit(values, f"{at}units.{place}.", state, projects)
        state = state.clone()
        state[:, start : start + size] += update
        start += size
    return state


def transition(values, at, x):
    return F.relu(conv_bn(values, f"{at}.0", f"{at}.1", x))


def cifar(values, x, layers):
    """3x3, BN, ReLU; then 1x1, BN, ReLU, averaged two by two but for the first, GUNN; 1x1, BN, ReLU; mean; fc."""
    x, states = F.relu(conv_bn(values, "conv1", "bn1", x, padding=1)), []
    for number, segments in enumerate(layers, 1):
        x = transition(values, f"transition{number}", x)
        x = x if number == 1 else F.avg_pool2d(x, 2)
        x = layer(values, f"layer{number}.", x, segments, projects=True)
        states.append(x)
    x = transition(values, "last", x)
    return states, F.linear(x.flatten(2).mean(2), values["fc.weight"], values["fc.bias"])


def imagenet(values, x, layers):
    """7x7/2, BN, ReLU, max-pool 3/2/1; then 1x1, BN, ReLU, GUNN, averaged two by two but for the last; mean; fc."""
    x, states = F.max_pool2d(F.relu(conv_bn(values, "conv1", "bn1", x, stride=2, padding=3)), 3, 2, 1), []
    for number, segments in enumerate(layers, 1):
        x = transition(values, f"transition{number}", x)
        x = layer(values, f"layer{number}.", x, segments, projects=False)
        states.append(x)
        x = x if number == len(layers) else F.avg_pool2d(x, 2)
    return states, F.linear(x.flatten(2).mean(2), values["fc.weight"], values["fc.bias"])


@pytest.mark.parametrize("projects", [True, False])
def test_a_unit_is_three_convolutions_with_a_relu_behind_the_first_two(projects):
    one, x = made(lambda: GunnUnit(9, 3, projects=projects)), drawn(2, 9, 5, 5)
    wanted = unit(one.state_dict(), "", x, projects)
    torch.testing.assert_close(one(x), wanted)
    assert float(wanted.min()) < 0


@pytest.mark.parametrize("sizes", [(12,), (4, 4, 4), (2, 3, 1, 6)])
@pytest.mark.parametrize("keeps_copies", [True, False])
def test_a_layer_adds_to_its_segments_in_turn_what_units_make_of_the_state_so_far(sizes, keeps_copies):
    one, x = made(lambda: GunnLayer(12, sizes)), drawn(2, 12, 5, 5)
    one.keeps_copies = keeps_copies
    wanted = layer(one.state_dict(), "", x, sizes, projects=False)
    torch.testing.assert_close(one(x), wanted)
    assert float(wanted.min()) < 0


@pytest.mark.parametrize(
    ("description", "reference", "layers"),
    [
        ("cifar-6-12/3-3+4+6-14/2-10", cifar, [(4, 4, 4), (3, 4, 6), (7, 7)]),
        ("imagenet-6-8/2-2+7+3-12/3", imagenet, [(4, 4), (2, 7, 3), (4, 4, 4)]),
    ],
)
def test_a_network_averages_behind_its_transitions_for_cifar_and_before_them_for_imagenet(
    description, reference, layers
):
    model = made(lambda: build_encoder(f"gunn:{description}", n_classes=5, seed=0))
    x = drawn(2, 3, 32, 32)
    taps, logits = model.taps_and_logits(x)
    states, wanted = reference(model.state_dict(), x, layers)
    assert list(taps) == [f"layer{number}" for number in range(1, len(layers) + 1)]
    for tap, state in zip(taps.values(), states, strict=True):
        torch.testing.assert_close(tap, state)
    torch.testing.assert_close(logits, wanted)
    torch.testing.assert_close(model(x), wanted)
