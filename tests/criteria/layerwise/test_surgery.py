"""What is removed, and how the rest makes up for it: against solvers that know nothing of inverses."""

import pytest
import torch

from tests.criteria.layerwise.layers import columns, error, gram_of, least_squares, weights
from ticketcli.criteria.layerwise import lobs as lobs_file
from ticketcli.criteria.layerwise.inverse import damped
from ticketcli.criteria.layerwise.layer import METHODS, power, prune_layer, sensitivities
from ticketcli.criteria.layerwise.lobs import lobs
from ticketcli.criteria.layerwise.obc import traces
from ticketcli.criteria.layerwise.refit import refit

D = 12


@pytest.fixture
def rows():
    return columns(400, D)


def test_a_single_removal_is_least_squares_and_costs_what_was_foretold(rows):
    """O1."""
    weight, gram = weights(1, D), gram_of(rows)
    foretold = sensitivities(weight, gram, method="lobs", centre=False, damping=0.0)
    found = prune_layer(weight, gram, method="lobs", kept=D - 1, centre=False, damping=0.0)
    place = int(foretold.argmin())
    assert found.weight[0, place] == 0
    assert not found.mask[0, place]
    assert torch.allclose(found.weight[0], least_squares(weight[0], found.mask[0], rows), rtol=0, atol=1e-12)
    assert found.report.error == pytest.approx(float(foretold.min()), rel=1e-12)
    assert error(found.weight - weight, rows) == pytest.approx(float(foretold.min()), rel=1e-11)


def test_every_score_is_what_the_removal_costs_by_brute_force(rows):
    """O2."""
    weight = weights(3, D)
    found = sensitivities(weight, gram_of(rows), method="lobs", centre=False, damping=0.0)
    for row in range(3):
        for place in range(D):
            kept = torch.arange(D) != place
            change = least_squares(weight[row], kept, rows) - weight[row]
            assert float(found[row, place]) == pytest.approx(error(change[None], rows), rel=1e-10)


@pytest.mark.parametrize("n_kept", [0, 1, 4, 6, 9, 11, 12])
def test_a_set_is_removed_as_least_squares_on_what_is_left(rows, n_kept):
    """O3: both sides of the formula, for few and for many."""
    weight, second = weights(2, D), gram_of(rows)
    kept = torch.stack([torch.randperm(D, generator=torch.Generator().manual_seed(s)) < n_kept for s in (0, 1)])
    moments = damped(second, 0.0)
    inverse = moments.inverse()
    found = refit(weight[None], kept[None], moments, inverse)[0]
    for row in range(2):
        assert torch.allclose(found[row], least_squares(weight[row], kept[row], rows), rtol=0, atol=1e-10)
        if n_kept < D:
            gone = weight[row][~kept[row]]
            foretold = gone @ torch.linalg.solve(inverse[0][~kept[row]][:, ~kept[row]], gone)
            assert error((found[row] - weight[row])[None], rows) == pytest.approx(float(foretold), rel=1e-9)


def test_bringing_the_inverse_down_costs_what_fresh_inverses_say(rows):
    """O4: every step of the greedy removal, over the halving of its matrices."""
    weight, gram = weights(3, D), gram_of(rows)
    costs, places = traces(weight[None], torch.ones(1, 3, D, dtype=torch.bool), damped(gram, 0.0))
    for row in range(3):
        left, present = torch.arange(D), weight[row].clone()
        for step in range(D):
            fresh = torch.linalg.inv(gram.second[0][left][:, left])
            scores = present.square() / fresh.diagonal()
            pick = int(scores.argmin())
            assert int(places[0, row, left[pick]]) == step
            assert float(costs[0, row, left[pick]]) == pytest.approx(float(scores[pick]), rel=1e-9)
            present = present - present[pick] / fresh[pick, pick] * fresh[:, pick]
            keep = torch.arange(len(left)) != pick
            left, present = left[keep], present[keep]


def one_by_one(weight, fallen, scores, inverse):
    """Algorithm 1, a weight at a time."""
    moved = weight.clone()
    for row in range(len(weight)):
        for place in sorted(fallen[row].nonzero()[:, 0].tolist(), key=lambda place: (float(scores[row, place]), place)):
            moved[row] -= moved[row, place] / inverse[place, place] * inverse[:, place]
    return torch.where(fallen, 0.0, moved)


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_blocks_of_the_closed_form_are_the_loop_of_the_paper(rows, block, monkeypatch):
    """O5, first half."""
    monkeypatch.setattr(lobs_file, "_MOST_BLOCK", block)
    monkeypatch.setattr(lobs_file, "_LEAST_BLOCK", min(block, 32))
    weight, gram = weights(5, D), gram_of(rows)
    inverse = torch.linalg.inv(gram.second[0])
    scores = weight.square() / inverse.diagonal()
    found = prune_layer(weight, gram, method="lobs", kept=20, centre=False, damping=0.0)
    assert int(found.mask.sum()) == 20
    assert torch.allclose(found.weight, one_by_one(weight, ~found.mask, scores, inverse), rtol=0, atol=1e-11)


def test_more_sweeps_end_at_the_exact_removal(rows):
    """O5, second half."""
    weight, gram = weights(5, D), gram_of(rows)
    exact = prune_layer(weight, gram, method="lobs_refit", kept=25, centre=False, damping=0.0)
    apart = []
    for sweeps in (1, 3, 10, 2000):
        found = prune_layer(weight, gram, method="lobs", kept=25, centre=False, damping=0.0, sweeps=sweeps)
        assert torch.equal(found.mask, exact.mask)
        apart.append(float((found.weight - exact.weight).abs().max()))
    assert apart[0] > apart[1] > apart[2] > 1e-3 > 1e-9 > apart[3]


def test_methods_are_as_good_as_their_theory_says():
    """O6: refit is never above its one sweep, mask for mask; the rest holds on the mean of 20 layers."""
    means = dict.fromkeys((*METHODS, "magnitude", "random"), 0.0)
    for seed in range(20):
        weight, gram = weights(24, 48, seed=seed), gram_of(columns(1000, 48, seed=seed, spread=0.5))
        found = {m: prune_layer(weight, gram, method=m, kept=576, centre=False, damping=1e-8) for m in means}
        assert torch.equal(found["lobs"].mask, found["lobs_refit"].mask)
        assert found["lobs_refit"].report.error <= found["lobs"].report.error
        for method, one in found.items():
            assert int(one.mask.sum()) == 576
            means[method] += one.report.relative / 20
    assert means["obc"] < means["lobs_refit"] < means["lobs"] < means["wanda"] < means["magnitude"] < means["random"]
    assert means["sparsegpt"] < means["wanda"]


def test_what_the_greedy_removals_cost_adds_up_to_the_error(rows):
    """O15."""
    weight, gram = weights(6, D), gram_of(rows)
    found = prune_layer(weight, gram, method="obc", kept=30, centre=False, damping=0.0)
    costs, places = traces(weight[None], torch.ones(1, 6, D, dtype=torch.bool), damped(gram, 0.0))
    counts = (~found.mask).sum(dim=1, keepdim=True)
    assert torch.equal(places[0] < counts, ~found.mask)
    assert found.report.error == pytest.approx(float(costs[0][~found.mask].sum()), rel=1e-10)


def test_the_roots_of_what_removals_cost_bound_the_root_of_the_error_before_masking(rows):
    """Of the published method the sum is of the steps that were made; a plain mask has no other steps."""
    weight, gram = weights(6, D), gram_of(rows)
    for method in ("wanda", "obd", "magnitude"):
        report = prune_layer(weight, gram, method=method, kept=30, centre=False).report
        assert report.root <= report.sum_root
    moments = damped(gram, 0.0)
    inverse = moments.inverse()
    scores = weight[None].square() / inverse.diagonal(dim1=1, dim2=2)[:, None]
    fallen = scores < scores.median()
    _, cost = lobs(weight[None], fallen, scores, torch.ones_like(fallen), moments, inverse, 1)
    spent, moved = 0.0, weight.clone()
    for row in range(6):
        for place in sorted(fallen[0, row].nonzero()[:, 0].tolist(), key=lambda p: float(scores[0, row, p])):
            spent += abs(float(moved[row, place])) / float(inverse[0, place, place]) ** 0.5
            moved[row] -= moved[row, place] / inverse[0, place, place] * inverse[0][:, place]
    assert cost == pytest.approx(spent, rel=1e-10)
    assert error(moved - weight, rows) ** 0.5 <= spent


def test_epsilon_takes_what_costs_no_more(rows):
    weight, gram = weights(6, D), gram_of(rows)
    found = sensitivities(weight, gram, method="lobs", centre=False)
    epsilon = float(found.median()) ** 0.5
    pruned = prune_layer(weight, gram, method="lobs_refit", epsilon=epsilon, centre=False)
    assert torch.equal(pruned.mask, found > epsilon**2)
    assert 0 < int(pruned.mask.sum()) < pruned.mask.numel()


def test_power_is_the_mean_squared_output(rows):
    weight = weights(6, D)
    assert power(weight, gram_of(rows)) == pytest.approx(error(weight, rows), rel=1e-12)
    spread = rows - rows.mean(dim=0)
    assert power(weight, gram_of(rows).centred()) == pytest.approx(error(weight, spread), rel=1e-11)
