"""Counts, patterns, what lived before, and what cannot be asked."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.criteria.layerwise.layers import accumulated, columns, error, gram_of, images, weights
from ticketcli.criteria.layerwise import inverse as inverse_file
from ticketcli.criteria.layerwise import layer as layer_file
from ticketcli.criteria.layerwise import obc as obc_file
from ticketcli.criteria.layerwise.gram import Gram
from ticketcli.criteria.layerwise.layer import BASELINES, METHODS, power, prune_layer, sensitivities
from ticketcli.criteria.layerwise.ranking import shares
from ticketcli.errors import DivergedError, InputMissing, MismatchError, TicketError, UsageError

ALL = METHODS + BASELINES
INVERTING = ("lobs", "lobs_refit", "obc", "sparsegpt")


@pytest.fixture
def rows():
    return columns(400, 12)


def half_alive(o=6, d=12):
    return (torch.arange(o * d) * 7919 % 5 < 3).view(o, d)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.37, 0.5, 0.99, 1.0])
def test_as_many_are_kept_as_were_asked_for_whatever_ties(rows, method, share):
    weight = weights(6, 12).sign()  # all magnitudes tie
    kept = round(share * weight.numel())
    found = prune_layer(weight, gram_of(rows), method=method, kept=kept, centre=True)
    assert int(found.mask.sum()) == found.report.kept == kept
    assert bool((found.weight[~found.mask] == 0).all())
    assert not bool(torch.signbit(found.weight[~found.mask]).any())
    if share == 1:
        assert torch.allclose(found.weight, weight, rtol=0, atol=1e-12)


def test_ties_fall_in_the_order_of_the_flat_index(rows):
    found = prune_layer(torch.ones(3, 12), gram_of(rows), method="magnitude", kept=20, centre=False)
    assert torch.equal(found.mask.flatten(), torch.arange(36) >= 16)


@pytest.mark.parametrize("limit", [10**12, 0])
@pytest.mark.parametrize("method", ALL)
def test_what_was_pruned_before_stays_exactly_zero(rows, method, limit, monkeypatch):
    """O13: whether each output has its own inverse or all share one."""
    monkeypatch.setattr(inverse_file, "SUPPORT_LIMIT", limit)
    alive, weight = half_alive(), weights(6, 12)
    kept = int(alive.sum()) // 2
    gram = gram_of(rows)
    found = prune_layer(weight * alive, gram, method=method, kept=kept, alive=alive, centre=True, damping=1e-8)
    assert not bool((found.mask & ~alive).any())
    assert int(found.mask.sum()) == kept
    assert bool((found.weight[~found.mask] == 0).all())
    assert not bool(torch.signbit(found.weight[~found.mask]).any())
    scores = sensitivities(weight * alive, gram, method=method, alive=alive, centre=True)
    assert bool((scores[~alive] == 0).all())
    change = found.weight - weight * alive
    left = rows @ change.T + found.bias_change
    assert found.report.error == pytest.approx(float(left.square().sum() / len(rows)), rel=1e-9)


def test_with_weights_gone_a_removal_is_the_best_of_what_lives(rows):
    """O13: single removals on a support, against least squares there; the shared inverse would be wrong."""
    alive, gram = half_alive(), gram_of(rows)
    weight = weights(6, 12) * alive
    scores = sensitivities(weight, gram, method="lobs", alive=alive, centre=False, damping=0.0)
    found = prune_layer(weight, gram, method="lobs", kept=int(alive.sum()) - 1, alive=alive, centre=False, damping=0.0)
    refitted = prune_layer(
        weight, gram, method="lobs_refit", kept=int(alive.sum()) - 1, alive=alive, centre=False, damping=0.0
    )
    assert torch.equal(found.mask, refitted.mask)
    assert torch.allclose(found.weight, refitted.weight, rtol=0, atol=1e-12)
    assert error(found.weight - weight, rows) == pytest.approx(float(scores[alive].min()), rel=1e-10)


@pytest.mark.parametrize("limit", [10**12, 0])
def test_compensation_pays_among_living_weights_alone(rows, limit, monkeypatch):
    monkeypatch.setattr(inverse_file, "SUPPORT_LIMIT", limit)
    alive, gram = half_alive(), gram_of(rows)
    weight = weights(6, 12) * alive
    how = {"kept": int(alive.sum()) // 2, "alive": alive, "centre": False, "damping": 1e-8}
    lobs = prune_layer(weight, gram, method="lobs", **how)
    plain = error(torch.where(lobs.mask, weight, 0.0) - weight, rows)
    refit = prune_layer(weight, gram, method="lobs_refit", **how)
    assert torch.equal(lobs.mask, refit.mask)
    assert refit.report.error < lobs.report.error < plain


def test_sparsegpt_that_keeps_all_returns_the_weights(rows):
    """O14, first half."""
    weight = weights(6, 12)
    found = prune_layer(weight, gram_of(rows), method="sparsegpt", kept=72, centre=False)
    assert torch.equal(found.weight, weight)
    assert found.report.error == 0


@pytest.mark.parametrize("method", [one for one in ALL if one != "obc"])
@pytest.mark.parametrize("pattern", [(2, 4), (1, 4), (2, 3)])
def test_a_pattern_is_kept_exactly(rows, method, pattern):
    """O14, second half: of a linear layer's inputs, and of a convolution's channels at each tap."""
    n, m = pattern
    found = prune_layer(weights(6, 12), gram_of(rows), method=method, pattern=pattern, centre=True)
    assert bool((found.mask.view(6, -1, m).sum(dim=2) == n).all())
    conv = nn.Conv2d(24, 4, 3, groups=2, padding=1, bias=False).double()
    gram = accumulated(conv, images(4, 24, 6, 6))
    weight = weights(4, 12, 3, 3)
    found = prune_layer(weight, gram, method=method, pattern=pattern, centre=False)
    assert bool((found.mask.permute(0, 2, 3, 1).reshape(-1, m).sum(dim=1) == n).all())
    change = (found.weight - weight).view(2, 2, 108)
    assert found.report.error == pytest.approx(float(((change @ gram.second) * change).sum()), rel=1e-9)


def test_a_pattern_counts_what_is_gone_already(rows):
    alive = half_alive()
    found = prune_layer(weights(6, 12), gram_of(rows), method="sparsegpt", pattern=(2, 4), alive=alive, centre=False)
    assert torch.equal(found.mask.view(6, 3, 4).sum(dim=2), alive.view(6, 3, 4).sum(dim=2).clamp(max=2))


def test_sparsegpt_across_blocks_is_the_loop_over_all_inputs():
    """Of each row: inputs in turn, errors to all that follow, at once."""
    rows, weight = columns(900, 300), weights(3, 300)
    gram = gram_of(rows)
    found = prune_layer(weight, gram, method="sparsegpt", kept=450, centre=False, damping=1e-6)
    second = gram.second[0] + 1e-6 * gram.second[0].diagonal().mean() * torch.eye(300, dtype=torch.float64)
    factor = torch.linalg.cholesky(torch.linalg.inv(second), upper=True)
    moved = weight.clone()
    for place in range(300):
        gone = torch.where(found.mask[:, place], 0.0, moved[:, place] / factor[place, place])
        moved -= torch.outer(gone, factor[place])
    assert torch.allclose(found.weight, torch.where(found.mask, moved, 0.0), rtol=0, atol=1e-9)
    assert [int(found.mask[:, start : start + 128].sum()) for start in (0, 128, 256)] == [192, 192, 66]


def test_wanda_keeps_the_same_share_of_every_output(rows):
    scaled = weights(6, 12) * torch.arange(1, 7)[:, None]
    found = prune_layer(scaled, gram_of(rows), method="wanda", kept=36, centre=False)
    assert found.mask.sum(dim=1).tolist() == [6] * 6
    obd = prune_layer(scaled, gram_of(rows), method="obd", kept=36, centre=False)
    assert obd.mask.sum(dim=1).tolist() != [6] * 6


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.floats(0, 1))
def test_a_count_is_shared_out_exactly_and_within_each_size(sizes, share):
    count = round(share * sum(sizes))
    found = shares(torch.tensor(sizes), count)
    assert sum(found) == count
    for quota, size in zip(found, sizes, strict=True):
        assert 0 <= quota <= size
        assert abs(quota - count * size / max(1, sum(sizes))) <= 1


def test_baselines_rank_by_their_formulas(rows):
    weight, gram = weights(6, 12), gram_of(rows)
    given = {"gram": gram, "centre": False}
    assert torch.allclose(
        sensitivities(weight, method="obd", **given), weight.square() * rows.square().mean(dim=0), rtol=1e-12
    )
    assert torch.allclose(
        sensitivities(weight, method="apoz", **given).sqrt(), (weight * rows.mean(dim=0)).abs(), rtol=1e-12
    )
    assert torch.equal(sensitivities(weight, method="magnitude", **given), weight.square())
    assert not torch.equal(
        sensitivities(weight, method="random", **given), sensitivities(weight, method="random", seed=1, **given)
    )


def test_half_precision_weights_and_tiny_and_huge_moments_stay_finite(rows):
    weight = weights(6, 12)
    for scale in (1e-30, 1e30):
        gram = gram_of(rows * scale**0.5)
        for method in INVERTING:
            found = prune_layer(weight.half(), gram, method=method, kept=30, centre=True)
            assert found.weight.dtype == torch.float16
            assert bool(torch.isfinite(found.weight).all())
            assert 0 < found.report.relative < 1


def test_a_method_without_scores_of_its_own_gets_nobody_elses(rows, monkeypatch):
    monkeypatch.setattr(layer_file, "METHODS", (*METHODS, "new"))
    with pytest.raises(TicketError, match="no scores of 'new'"):
        prune_layer(weights(6, 12), gram_of(rows), method="new", kept=30, centre=True)


def test_a_layer_whose_inputs_are_all_zero_has_no_error():
    gram = Gram(torch.zeros(1, 4, 4, dtype=torch.float64), torch.zeros(1, 4, dtype=torch.float64), 10, 1)
    for method in ALL:
        found = prune_layer(weights(3, 4), gram, method=method, kept=6, centre=False)
        assert int(found.mask.sum()) == 6
        assert found.report.error == found.report.relative == 0.0
        assert bool(torch.isfinite(found.weight).all())


def test_the_report_is_json_without_anything_that_is_not_a_number(rows):
    for method in ALL:
        said = prune_layer(weights(6, 12), gram_of(rows), method=method, kept=30, centre=True).report.as_dict()
        again = json.loads(json.dumps(said, allow_nan=False))
        assert again["kept"] == 30
        assert again["root"] == pytest.approx(math.sqrt(again["error"]))
        assert sum(again["sensitivities"]["counts"]) + again["sensitivities"]["zeros"] == 72
        assert again["spectral"] <= again["frobenius"] * (1 + 1e-8)
        assert (again["condition"] is None) == (method not in INVERTING)


def test_a_layer_too_large_for_obc_says_so_or_has_its_stand_in(rows, monkeypatch):
    monkeypatch.setattr(obc_file, "MOST_INPUTS", 11)
    how = {"method": "obc", "kept": 30, "centre": False}
    with pytest.raises(UsageError, match="obc on a layer of 12 inputs: above 11"):
        prune_layer(weights(6, 12), gram_of(rows), **how)
    assert prune_layer(weights(6, 12), gram_of(rows), **how, obc_fallback=True).report.method == "lobs_refit"


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ({"kept": 73}, UsageError, "73 weights to keep where 72 live"),
        ({"kept": -1}, UsageError, "-1 weights to keep"),
        ({"kept": 30, "epsilon": 0.1}, UsageError, "kept and epsilon together"),
        ({}, UsageError, "neither a count nor an error nor a pattern"),
        ({"epsilon": -0.1}, UsageError, "epsilon is -0.1"),
        ({"epsilon": float("nan")}, UsageError, "epsilon is nan"),
        ({"epsilon": 0.1, "method": "magnitude"}, UsageError, "knows no error"),
        ({"kept": 30, "method": "lops"}, UsageError, "no method 'lops'"),
        ({"kept": 30, "damping": -1.0}, UsageError, "damping is -1.0"),
        ({"kept": 30, "sweeps": 0}, UsageError, "0 sweeps"),
        ({"kept": 30, "sweeps": 2, "method": "obc"}, UsageError, "2 sweeps of 'obc'"),
        ({"pattern": (4, 4)}, UsageError, "pattern 4:4"),
        ({"pattern": (2, 5)}, UsageError, "where a weight has 12 inputs"),
        ({"pattern": (2, 4), "method": "obc"}, UsageError, "no n:m patterns"),
        ({"kept": 3, "alive": torch.ones(6, 11, dtype=torch.bool)}, MismatchError, "a mask"),
    ],
)
def test_what_cannot_be_asked_is_refused(rows, how, kind, words):
    with pytest.raises(kind, match=words):
        prune_layer(weights(6, 12), gram_of(rows), **{"method": "lobs", "centre": False, **how})


def test_values_that_are_no_numbers_are_refused(rows):
    gram, weight = gram_of(rows), weights(6, 12)
    how = {"method": "lobs", "kept": 30, "centre": False}
    broken = weight.clone()
    broken[0, 0] = float("nan")
    with pytest.raises(DivergedError, match="a weight is not finite"):
        prune_layer(broken, gram, **how)
    worse = gram_of(rows * 1e200)
    with pytest.raises(DivergedError, match="moments of the inputs are not finite"):
        prune_layer(weight, worse, **how)
    with pytest.raises(DivergedError, match="not finite"):
        power(weight, worse)
    with pytest.raises(InputMissing, match="no column"):
        Gram(gram.second, gram.mean, 0, 1)
    with pytest.raises(MismatchError, match="the moments of 1 x 12 inputs"):
        prune_layer(weights(6, 11), gram, **how)


def test_above_the_limit_what_is_gone_is_removed_again_at_the_end(rows, monkeypatch):
    monkeypatch.setattr(inverse_file, "SUPPORT_LIMIT", 0)
    alive, gram = half_alive(), gram_of(rows)
    weight = weights(6, 12) * alive
    found = prune_layer(weight, gram, method="lobs", kept=20, alive=alive, centre=False, damping=0.0)
    inverse = torch.linalg.inv(gram.second[0])
    scores = weight.square() / inverse.diagonal()
    moved = weight.clone()
    for row in range(6):
        falls = sorted((alive & ~found.mask)[row].nonzero()[:, 0].tolist(), key=lambda place: float(scores[row, place]))
        for place in falls + (~alive)[row].nonzero()[:, 0].tolist():
            moved[row] -= moved[row, place] / inverse[place, place] * inverse[:, place]
    assert torch.allclose(found.weight, torch.where(found.mask, moved, 0.0), rtol=0, atol=1e-11)


def test_dead_inputs_need_no_damping():
    rows = columns(300, 10)
    rows[:, 4] = 0.0
    assert (
        prune_layer(weights(4, 10), gram_of(rows), method="lobs", kept=9, centre=False, damping=0.0).report.damping == 0
    )
