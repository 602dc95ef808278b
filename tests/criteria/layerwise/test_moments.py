"""Second moments: patches as convolutions cut them, and their inverses."""

import pytest
import torch
from torch import nn

from tests.criteria.layerwise.layers import accumulated, columns, error, gram_of, images, weights
from ticketcli.criteria.layerwise.gram import Gram, GramAccumulator, gram_bytes
from ticketcli.criteria.layerwise.inverse import damped, woodbury
from ticketcli.criteria.layerwise.layer import prune_layer
from ticketcli.errors import DivergedError, InputMissing, MismatchError, UsageError

CONVOLUTIONS = {
    "plain": {"kernel_size": 3},
    "strided": {"kernel_size": 3, "stride": (2, 3), "padding": 1},
    "dilated": {"kernel_size": (3, 2), "dilation": (2, 3), "padding": (2, 1)},
    "grouped": {"kernel_size": (2, 3), "groups": 2, "padding": (0, 1)},
    "depthwise": {"kernel_size": 3, "groups": 4, "stride": 2, "padding": 1},
    "same": {"kernel_size": (5, 3), "dilation": (1, 2), "padding": "same"},
    "reflect": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    "replicate": {"kernel_size": 3, "padding": (2, 1), "padding_mode": "replicate"},
    "circular": {"kernel_size": 3, "padding": 2, "padding_mode": "circular", "groups": 2},
    "pointwise": {"kernel_size": 1, "stride": 2},
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_moments_are_those_of_the_patches_that_the_convolution_multiplies(kind):
    """O8: patches as an identity's convolutions give them, in the weights' order; and the outputs' power."""
    layer = nn.Conv2d(4, 8, bias=False, **CONVOLUTIONS[kind]).double()
    x = images(3, 4, 9, 8)
    found = accumulated(layer, x)
    d = layer.weight[0].numel()
    eye = torch.eye(d, dtype=torch.float64).view(d, *layer.weight.shape[1:]).repeat(layer.groups, 1, 1, 1)
    copier = nn.Conv2d(4, d * layer.groups, bias=False, **CONVOLUTIONS[kind]).double()
    copier.weight.data = eye
    patches = copier(x).detach().unflatten(1, (layer.groups, d)).flatten(3)  # [N, g, d, L]
    assert found.positions == patches.shape[3]
    assert found.n == 3 * patches.shape[3]
    assert torch.allclose(found.second, torch.einsum("ngdl,ngel->gde", patches, patches) / found.n, rtol=0, atol=1e-13)
    assert torch.allclose(found.mean, patches.mean(dim=(0, 3)), rtol=0, atol=1e-14)
    rows = layer.weight.detach().view(layer.groups, -1, d)
    output = layer(x).detach().unflatten(1, (layer.groups, -1)).flatten(3)
    assert torch.allclose(torch.einsum("god,ngdl->ngol", rows, patches), output, rtol=0, atol=1e-13)


def test_a_linear_layer_reads_the_last_dimension():
    x = columns(60, 5).view(6, 10, 5)
    found = accumulated(nn.Linear(5, 2), x)
    assert (found.n, found.positions) == (60, 10)
    assert torch.allclose(found.second, gram_of(x.flatten(0, 1)).second, rtol=0, atol=1e-14)


def test_free_bias_is_the_covariance_with_the_mean_moved_into_the_bias():
    """O9: against the problem with a constant input whose weight is never pruned."""
    rows, weight = columns(300, 7), weights(2, 7)
    found = prune_layer(weight, gram_of(rows), method="lobs_refit", kept=8, centre=True, damping=0.0)
    longer = torch.cat([rows, torch.ones(300, 1, dtype=torch.float64)], dim=1)
    for row in range(2):
        kept = torch.cat([found.mask[row], torch.tensor([True])])
        best = torch.linalg.lstsq(longer[:, kept], (rows @ weight[row])[:, None]).solution[:, 0]
        assert torch.allclose(found.weight[row][found.mask[row]], best[:-1], rtol=0, atol=1e-11)
        assert float(found.bias_change[row]) == pytest.approx(float(best[-1]), abs=1e-11)
    change = found.weight - weight
    assert torch.allclose(found.bias_change, -change @ rows.mean(dim=0), rtol=0, atol=1e-13)
    left = rows @ change.T + found.bias_change
    assert found.report.error == pytest.approx(float(left.square().sum() / 300), rel=1e-10)


def test_updates_one_column_at_a_time_are_the_damped_inverse():
    """O7."""
    rows, alpha = columns(200, 16), 1e4
    direct = torch.linalg.inv(gram_of(rows).second[0] + torch.eye(16, dtype=torch.float64) / alpha)
    assert float((woodbury(rows, alpha) - direct).abs().max() / direct.abs().max()) < 1e-11


def test_inputs_that_are_always_zero_fall_first_and_cost_nothing():
    """O10."""
    rows, weight = columns(300, 10), weights(4, 10)
    rows[:, [2, 7]] = 0.0
    for method in ("lobs", "lobs_refit", "obc", "sparsegpt"):
        found = prune_layer(weight, gram_of(rows), method=method, kept=32, centre=False, damping=1e-8)
        assert torch.equal(found.mask.sum(dim=0) == 0, torch.tensor([i in (2, 7) for i in range(10)])), method
        assert found.report.error == pytest.approx(0.0, abs=1e-20)
        assert found.report.dead_inputs == 2
        assert bool(torch.isfinite(found.weight).all())


def test_an_input_that_is_constant_is_dead_where_the_bias_is_free():
    rows, weight = columns(5000, 6).float(), weights(4, 6).float()
    rows[:, 3] = 3.7
    gram = accumulated(nn.Linear(6, 4), rows, batch=977)
    found = prune_layer(weight, gram, method="lobs", kept=20, centre=True)
    assert found.report.dead_inputs == 1
    assert not found.mask[:, 3].any()
    assert found.report.error == pytest.approx(0.0, abs=1e-12)
    assert torch.allclose(found.bias_change, weight[:, 3] * 3.7, rtol=1e-5)


@pytest.mark.parametrize("n", [1, 3, 8])
def test_fewer_columns_than_inputs_are_damped_as_documented(n):
    """O12."""
    rows, weight = columns(n, 30), weights(5, 30)
    for method in ("lobs", "lobs_refit", "obc", "sparsegpt"):
        found = prune_layer(weight, gram_of(rows), method=method, kept=60, centre=False)
        assert found.report.damping == 1e-2
        assert found.report.n == n
        assert bool(torch.isfinite(found.weight).all())
        assert found.report.relative < 1
    undamped = prune_layer(weight, gram_of(rows), method="lobs", kept=60, centre=False, damping=0.0)
    assert 1e-8 <= undamped.report.damping < 1e-2  # raised until it had a factor, and said so
    assert bool(torch.isfinite(undamped.weight).all())


def test_damping_that_helps_nothing_is_an_error_and_not_a_number():
    wrong = torch.tensor([[[1.0, 9.0], [9.0, 1.0]]], dtype=torch.float64)  # no second moments of anything
    with pytest.raises(DivergedError, match="even with damping 0"):
        damped(Gram(wrong, torch.zeros(1, 2, dtype=torch.float64), 100, 1), 1e-8)


def test_products_in_single_precision_are_good_to_a_part_in_a_million():
    x = columns(20_000, 40, shift=5.0)
    exact = gram_of(x.float().double()).centred().second[0]
    found = accumulated(nn.Linear(40, 1), x.float(), batch=6000).centred().second[0]
    scale = exact.diagonal().sqrt()
    assert float(((found - exact) / torch.outer(scale, scale)).abs().max()) < 1e-6


def test_a_sample_of_positions_is_uniform_fixed_by_seed_and_image_and_close():
    layer, x = nn.Conv2d(3, 1, 3, padding=1).double(), images(64, 3, 12, 12)
    whole = accumulated(layer, x)
    some = accumulated(layer, x, positions=36, batch=64)
    assert (some.n, some.positions) == (64 * 36, 144)
    assert torch.allclose(some.second, accumulated(layer, x, positions=36, batch=5).second, rtol=0, atol=1e-12)
    assert not torch.equal(some.second, accumulated(layer, x, positions=36, seed=1).second)
    assert torch.equal(accumulated(layer, x, positions=144).second, whole.second)
    assert float((some.second - whole.second).norm() / whole.second.norm()) < 0.15
    corners = torch.zeros(2000, 1, 2, 3, dtype=torch.float64)
    corners[:, 0, 1, 2] = 1.0  # one position of six: taken with the share that positions have
    share = accumulated(nn.Conv2d(1, 1, 1).double(), corners, positions=2, batch=500).mean
    assert float(share[0, 0]) == pytest.approx(1 / 6, abs=0.02)


def test_a_saved_state_goes_on_to_the_same_moments():
    layer, x = nn.Conv2d(2, 1, 3), images(6, 2, 7, 7).float()
    whole = accumulated(layer, x, positions=9)
    first = GramAccumulator(layer, positions=9, seed=0)
    first.add(x[:2], 0)
    second = GramAccumulator(layer, positions=9, seed=0)
    second.load(first.state())
    second.add(x[2:4], 2)
    second.add(x[4:], 4)
    assert torch.equal(second.finalize().second, whole.second)
    assert sum(value.nbytes for name, value in first.state().items() if name != "counts") == gram_bytes(layer)
    with pytest.raises(MismatchError, match="not this layer's"):
        GramAccumulator(nn.Conv2d(3, 1, 3), positions=9, seed=0).load(first.state())


def test_what_cannot_be_counted_is_refused():
    adder = GramAccumulator(nn.Conv2d(2, 1, 3), positions=None, seed=0)
    with pytest.raises(InputMissing, match="no column of inputs was seen"):
        adder.finalize()
    with pytest.raises(MismatchError, match="a convolution of 2 channels"):
        adder.add(torch.zeros(1, 3, 5, 5), 0)
    with pytest.raises(DivergedError, match="not finite"):
        adder.add(torch.full((1, 2, 5, 5), float("nan")), 0)
    adder.add(torch.zeros(1, 2, 5, 5), 0)
    with pytest.raises(MismatchError, match="16 output positions after images with 9"):
        adder.add(torch.zeros(1, 2, 6, 6), 1)
    with pytest.raises(UsageError, match="0 positions"):
        GramAccumulator(nn.Linear(2, 1), positions=0, seed=0)


def test_error_of_the_report_is_the_error_on_the_columns():
    rows, weight = columns(500, 9), weights(4, 9)
    found = prune_layer(weight, gram_of(rows), method="sparsegpt", kept=12, centre=False)
    assert found.report.error == pytest.approx(error(found.weight - weight, rows), rel=1e-10)
    assert found.report.relative == pytest.approx(found.report.error / error(weight, rows), rel=1e-10)
