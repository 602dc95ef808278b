"""The accumulated error bound is never below what happens, and says where it knows nothing."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.criteria.layerwise.layers import drawn, images, weights
from ticketcli.criteria.layerwise import report as report_file
from ticketcli.criteria.layerwise.bound import error_bound
from ticketcli.criteria.layerwise.gains import max_pool_gain, operator_norm, patch_gain
from ticketcli.criteria.layerwise.gram import GramAccumulator
from ticketcli.criteria.layerwise.layer import prune_layer
from ticketcli.criteria.layerwise.report import spectral_norm
from ticketcli.errors import MismatchError, UsageError
from ticketcli.models.architectures import build_encoder


class Watched:
    """What went into and came out of every convolution and linear layer."""

    def __init__(self, model):
        self.layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
        self.model = model

    def run(self, x):
        inputs, outputs, hooks = {}, {}, []
        for name, layer in self.layers.items():
            hooks.append(layer.register_forward_hook(
                lambda m, given, out, name=name: (inputs.update({name: given[0].clone()}), outputs.update({name: out.clone()}))[:0] or None
            ))  # fmt: skip
        with torch.no_grad():
            outputs["output"] = self.model(x)
        for hook in hooks:
            hook.remove()
        return inputs, outputs


def pruned_in_place(model, x, method="lobs", share=0.4, centred=()):
    """Prune every layer on the dense network's inputs; reports, and what really changed, an image."""
    watched = Watched(model)
    inputs, before = watched.run(x)
    reports = {}
    for name, layer in watched.layers.items():
        adder = GramAccumulator(layer, positions=None, seed=0)
        adder.add(inputs[name], 0)
        kept = max(1, round(share * layer.weight.numel()))
        centre = layer.bias is not None
        found = prune_layer(layer.weight, adder.finalize(), method=method, kept=kept, centre=centre)
        layer.weight.data = found.weight
        if centre:
            layer.bias.data += found.bias_change
        reports[name] = found.report
    after = watched.run(x)[1]
    actual = {name: float((after[name] - before[name]).square().sum() / len(x)) ** 0.5 for name in before}
    return reports, actual


def require_bounded(model, x, **how):
    reports, actual = pruned_in_place(model, x, **how)
    spectral = error_bound(model, reports, x[:1], norm="spectral")
    frobenius = error_bound(model, reports, x[:1], norm="frobenius")
    assert set(spectral) == set(actual)
    for name, value in actual.items():
        assert value <= spectral[name] * (1 + 1e-9) <= frobenius[name] * (1 + 1e-7), name
    assert actual["output"] > 0
    return spectral["output"] / actual["output"]


@pytest.mark.parametrize("seed", range(50))
def test_what_happens_is_below_the_spectral_and_that_below_the_frobenius_bound(seed):
    """O11: 50 networks, fully connected, of one to four layers."""
    sizes = [8, *(6 + (seed * k) % 7 for k in range(1, 1 + seed % 4)), 5]
    layers = []
    for place, (n, m) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.Linear(n, m, bias=seed % 3 > 0)] + [nn.ReLU()] * (place < len(sizes) - 2)
    model = drawn(nn.Sequential(*layers), seed)
    method = ("lobs", "magnitude", "sparsegpt", "lobs_refit")[seed % 4]
    require_bounded(model, weights(60, 8, seed=seed), method=method)


def test_of_a_single_layer_the_bound_is_the_error():
    model = drawn(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)))
    assert require_bounded(model, images(5, 3, 6, 6)) == pytest.approx(1.0, rel=1e-9)


class Mixed(nn.Module):
    """Branches, sums, concatenation, pools, and functions beside modules."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1, padding_mode="reflect", bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.wide = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=2)
        self.deep = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
        self.deep_bn = nn.BatchNorm2d(6)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(12 * 4, 10)
        self.out = nn.Linear(10, 4)

    def forward(self, x):
        x = F.max_pool2d(torch.relu_(self.bn(self.stem(x))), kernel_size=2, stride=1)
        y = F.relu(self.wide(x)) + x
        z = self.deep_bn(self.deep(x)).relu()
        both = torch.cat([self.pool(y), F.avg_pool2d(F.pad(z, (1, 1, 1, 1)), 3, 2)], dim=1)
        both = F.adaptive_avg_pool2d(both, 2).flatten(1)
        return self.out(self.drop(torch.relu(self.fc(both))))


@pytest.mark.parametrize("seed", range(8))
def test_convolutions_branches_pools_and_batchnorm_are_bounded(seed):
    """O11, with the gain of patches."""
    model = drawn(Mixed(), seed)
    assert require_bounded(model, images(12, 3, 16, 16, seed=seed)) < 1000


@pytest.mark.parametrize("arch", ["resnet_small", "resnet20"])
def test_residual_networks_of_the_house_are_bounded(arch):
    model = drawn(build_encoder(arch, n_classes=10, seed=0))
    require_bounded(model, images(2, 3, 32, 32), method="magnitude", share=0.9)


CONVOLUTIONS = [
    {"kernel_size": 3}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": (5, 2), "stride": (2, 3)},
    {"kernel_size": 3, "dilation": 2, "stride": 2, "padding": 2}, {"kernel_size": 3, "dilation": 3, "stride": 2},
    {"kernel_size": 1, "stride": 2}, {"kernel_size": 7, "stride": 2, "padding": 3},
    {"kernel_size": 3, "padding": 2, "padding_mode": "circular"}, {"kernel_size": 3, "padding": 2, "padding_mode": "reflect"},
    {"kernel_size": 3, "padding": 3, "padding_mode": "replicate"},
]  # fmt: skip


@pytest.mark.parametrize("how", CONVOLUTIONS)
def test_the_patch_gain_is_reached_and_never_passed(how):
    """Against the operator itself, as a matrix of unit images."""
    layer = nn.Conv2d(1, 1, bias=False, **how).double()
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    copier = nn.Conv2d(1, taps, bias=False, **how).double()
    copier.weight.data = torch.eye(taps, dtype=torch.float64).view(taps, 1, *layer.kernel_size)
    operator = copier(torch.eye(99, dtype=torch.float64).view(99, 1, 9, 11)).detach().flatten(1)
    exact = float(torch.linalg.matrix_norm(operator, 2))
    assert patch_gain(layer, (1, 1, 9, 11)) == pytest.approx(exact, rel=1e-9)
    if layer.padding_mode == "zeros" and layer.dilation == (1, 1):
        (high, wide), (down, right) = layer.kernel_size, layer.stride
        assert exact <= math.sqrt(math.ceil(high / down) * math.ceil(wide / right)) + 1e-9


def test_a_maximum_over_overlapping_windows_can_be_as_long_as_its_bound():
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 4] = 1.0
    pooled = F.max_pool2d(x, 3, 1)
    assert float(pooled.norm()) == pytest.approx(
        max_pool_gain((1, 1, 9, 9), pooled.shape, (3, 3), (1, 1), (0, 0), (1, 1))
    )


@pytest.mark.parametrize("shape", [(1, 5, 9), (3, 8, 4), (1, 1, 6), (2, 40, 40)])
@pytest.mark.parametrize("exact", [1024, 0])
def test_a_spectral_norm_is_never_below_the_truth_and_close_to_it(shape, exact, monkeypatch):
    monkeypatch.setattr(report_file, "_EXACT", exact)
    for scale in (1e-12, 1.0, 1e12):
        matrices = weights(*shape) * scale
        truth = float(torch.linalg.matrix_norm(matrices, 2).max())
        assert truth <= spectral_norm(matrices) <= truth * 1.05
    assert spectral_norm(torch.zeros(shape)) == 0


def test_groups_are_bounded_by_the_worst_of_them():
    weight = weights(6, 2, 1, 1)
    expected = max(float(torch.linalg.matrix_norm(weight[k : k + 3, :, 0, 0], 2)) for k in (0, 3))
    assert operator_norm(weight, 2, "spectral") == pytest.approx(expected, rel=1e-8)


class Shouting(nn.Module):
    def __init__(self, work):
        super().__init__()
        self.conv, self.work = nn.Conv2d(3, 4, 3), work

    def forward(self, x):
        return self.work(self, self.conv(x))


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda self, x: torch.sigmoid(x).exp(), "no bound is known for 'sigmoid'"),
        (lambda self, x: x * x, "no bound is known for 'mul'"),
        (lambda self, x: x if x.sum() > 0 else -x, "cannot be traced"),
        (lambda self, x: F.dropout(x), "on in eval mode"),
        (lambda self, x: x[torch.zeros(3, dtype=torch.long)], "read a value more than once"),
        (lambda self, x: (x, x), "not one tensor"),
    ],
)
def test_what_is_not_known_is_an_error_that_names_it(work, words):
    with pytest.raises(UsageError, match=words) as caught:
        error_bound(Shouting(work), {}, torch.zeros(1, 3, 8, 8), norm="spectral")
    assert "error bound" in caught.value.where or "node " in caught.value.where


def test_a_layer_that_runs_twice_or_that_is_not_there_is_an_error():
    model = drawn(nn.Sequential(nn.Linear(4, 4)))
    reports, _ = pruned_in_place(model, weights(20, 4))
    with pytest.raises(MismatchError, match="no convolution or linear layer 'other'"):
        error_bound(model, {"other": reports["0"]}, torch.zeros(1, 4).double(), norm="spectral")
    twice = nn.Sequential(model[0], nn.ReLU(), model[0])
    with pytest.raises(MismatchError, match="'0' runs more than once"):
        error_bound(twice, reports, torch.zeros(1, 4).double(), norm="spectral")


def test_the_network_is_left_in_its_mode():
    model = drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    error_bound(model, {}, torch.ones(2, 3, 5, 5).double(), norm="frobenius")
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_behind_a_batchnorm_of_one_channel_the_bound_is_the_error():
    model = drawn(nn.Sequential(nn.Conv2d(3, 1, 3, bias=False), nn.BatchNorm2d(1)), 1)
    model[1].weight.data.fill_(40.0)
    assert require_bounded(model, images(5, 3, 6, 6)) == pytest.approx(1.0, rel=1e-9)


class Twins(nn.Module):
    """The same convolution twice, added up."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(3, 4, 3, bias=False)

    def forward(self, x):
        return self.one(x) + self.other(x)


def test_of_equal_branches_the_bound_is_the_error():
    model = drawn(Twins())
    model.other.weight.data.copy_(model.one.weight.data)
    assert require_bounded(model, images(5, 3, 6, 6)) == pytest.approx(1.0, rel=1e-9)


def test_where_all_taps_agree_patches_lengthen_by_nearly_all_of_their_gain():
    model = drawn(nn.Sequential(nn.Conv2d(2, 1, 1, bias=False), nn.Conv2d(1, 1, 3, bias=False)))
    x = torch.ones(1, 2, 60, 60).double()
    reports, _ = pruned_in_place(nn.Sequential(model[0]), x, share=0.5, method="magnitude")
    model[1].weight.data.fill_(1.0)
    bound = error_bound(model, reports, x, norm="spectral")["output"]
    actual = 9 * reports["0"].root * 58  # a constant difference over 58 x 58 positions
    assert actual <= bound <= 1.05 * actual


@pytest.mark.parametrize("arch", ["gunn:cifar-4-6/3-2+6-5", "gunn:imagenet-4-6/2-8/2"])
def test_states_that_are_renewed_a_segment_at_a_time_are_bounded(arch):
    model = build_encoder(arch, n_classes=3, seed=0).double().eval()
    require_bounded(model, images(3, 3, 16, 16), share=0.6)


def test_pieces_of_a_tensor_count_once_when_they_are_put_together_again():
    class Pieces(nn.Module):
        def __init__(self, order):
            super().__init__()
            self.first, self.order = nn.Conv2d(3, 6, 1, bias=False), order

        def forward(self, x):
            pieces = torch.split(self.first(x), [1, 2, 3], dim=1)
            return torch.cat([pieces[place] for place in self.order], dim=1)

    x = images(2, 3, 4, 4)
    bounds = []
    for order in ([0, 1, 2], [0, 0, 1, 2, 2]):
        model = drawn(Pieces(order)).double().eval()
        reports, actual = pruned_in_place(model, x)
        bounds.append(error_bound(model, reports, x[:1], norm="spectral")["output"])
        assert actual["output"] <= bounds[-1] * (1 + 1e-9)
        if len(order) == 3:
            assert bounds[0] == pytest.approx(actual["output"])
    assert bounds[1] == pytest.approx(bounds[0] * 3**0.5)


def test_what_is_added_to_pieces_counts_when_they_are_put_together_again():
    class Added(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 1, 1, bias=False), nn.Conv2d(3, 2, 1, bias=False)

        def forward(self, x):
            pieces = torch.split(x, [1, 2], dim=1)
            return torch.cat([pieces[0] + self.first(x), pieces[1] + self.second(x)], dim=1)

    x = images(2, 3, 4, 4)
    model = drawn(Added()).double().eval()
    reports, actual = pruned_in_place(model, x)
    bound = error_bound(model, reports, x[:1], norm="spectral")["output"]
    assert bound == pytest.approx(actual["output"])
    assert actual["output"] > 0
