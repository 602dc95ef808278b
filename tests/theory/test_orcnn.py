import pytest
import torch

from tests.drained import drained
from ticketcli.errors import DivergedError, UsageError
from ticketcli.tensors.seeds import generator
from ticketcli.theory.distances import distances
from ticketcli.theory.gram import drawn, limit_gram, signs
from ticketcli.theory.orcnn import Orcnn, measure, predicted, train


def draw(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed, "test"))


@pytest.fixture(scope="module")
def wide():
    return drained(measure(Orcnn(width=4000, p=(0.1, 0.3, 0.5, 0.7), seeds=3)))


def rotated(found, p):
    return [one.finetuned[p].trained.rotated for one in found]


def test_patches_have_norm_1_and_give_the_convolution():
    sample = drawn(2, 3, 1, 6, seed=0)
    assert sample.patches.shape == (2, 6, 9)
    torch.testing.assert_close(sample.patches.norm(dim=2), torch.ones(2, 6, dtype=torch.float64))
    x = sample.patches.view(2, 6, 3, 3)[..., 1].transpose(1, 2)  # the middle tap: the input itself
    filters = draw(4, 3, 3)
    padded = torch.nn.functional.pad(x, (1, 1), mode="circular")
    wanted = torch.nn.functional.conv1d(padded, filters)
    torch.testing.assert_close((sample.patches @ filters.flatten(1).T).transpose(1, 2), wanted)


def test_the_gram_matrix_is_what_many_gaussian_filters_give():
    sample = drawn(4, 2, 1, 5, seed=3)
    filters = draw(20_000, 6)
    active = ((sample.flat @ filters.T) > 0).double()
    both = active @ active.T / len(filters)
    estimate = (sample.flat @ sample.flat.T * both).view(4, 5, 4, 5).sum(dim=(1, 3)) / 25
    torch.testing.assert_close(limit_gram(sample), estimate, atol=5e-3, rtol=0)
    assert torch.linalg.eigvalsh(limit_gram(sample))[0] > 0


def test_a_step_is_one_of_gradient_descent_on_half_the_squared_error():
    sample, first, head = drawn(3, 2, 1, 4, seed=0), draw(10, 6), signs(10, 0, "test")
    filters = first.clone().requires_grad_()
    outputs = ((sample.patches @ filters.T).relu().mean(dim=1) @ head) / 40**0.5
    (0.5 * (outputs - sample.labels).square().sum()).backward()
    after, descent = train(first, head, sample, 40, 0.3, 0.0, most=1)
    torch.testing.assert_close(after, first - 0.3 * filters.grad)
    assert (descent.steps, descent.converged) == (1, False)


def test_the_theorems_rotation_sees_nothing_but_norms():
    a, b = draw(12, 4, seed=1), 2 * draw(12, 4, seed=2)
    found = distances(a, b)
    assert found.rotated == pytest.approx(abs(a.norm() - b.norm()) / (a.norm() * b.norm()).sqrt())
    assert found.rotated <= found.mixed <= found.plain
    assert distances(b * (a.norm() / b.norm()), a).rotated == pytest.approx(0, abs=1e-12)


def test_a_mix_of_filters_is_found_and_undone():
    a = draw(12, 4)
    mix = torch.linalg.qr(draw(12, 12, seed=5)).Q
    found = distances(mix @ a, a)
    assert found.mixed == pytest.approx(0, abs=1e-7)
    assert found.plain > 0.5
    assert distances(3 * mix @ a, a).rescaled == pytest.approx(0, abs=1e-7)


def test_no_mix_of_filters_is_nearer_than_the_one_that_is_computed():
    a, b = draw(12, 4, seed=1), draw(12, 4, seed=2)
    scale = float((a.norm() * b.norm()).sqrt())
    left, _, right = torch.linalg.svd(b @ a.T)
    best = float(((left @ right) @ a - b).norm()) / scale
    assert distances(a, b).mixed == pytest.approx(best)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.99])
def test_the_limit_keeps_to_the_bound(p):
    assert predicted(p) >= p / 2


def test_theorem_3_2_holds_for_a_wide_network(wide):
    for p in (0.3, 0.5, 0.7):
        assert min(rotated(wide, p)) >= p / 2
        assert rotated(wide, p) == pytest.approx([predicted(p)] * 3, rel=0.05)
    for one in wide:
        along = [one.finetuned[p].trained.rotated for p in (0.1, 0.3, 0.5, 0.7)]
        assert along == sorted(along)


def test_a_narrow_network_breaks_the_bound_at_a_small_p():
    narrow = drained(measure(Orcnn(width=500, p=(0.1,), seeds=6)))
    assert sum(rotated(narrow, 0.1)) / 6 < 0.05


def test_filters_that_were_never_trained_are_as_far_apart(wide):
    for p in (0.3, 0.5, 0.7):
        untrained = [one.finetuned[p].untrained.rotated for one in wide]
        assert rotated(wide, p) == pytest.approx(untrained, rel=0.04)


def test_lemma_b_5_holds_and_would_not_for_a_faster_rate(wide):
    for one in wide:
        assert one.descent.converged
        for descent in (one.descent, *(tuned.descent for tuned in one.finetuned.values())):
            assert descent.slack <= 1
    sample = drawn(5, 3, 1, 8, seed=0)
    eigenvalues = torch.linalg.eigvalsh(limit_gram(sample))
    first, head = draw(4000, 9), signs(4000, 0, "test")
    _, descent = train(first, head, sample, 4000, 0.5 / float(eigenvalues[-1]), 10 * float(eigenvalues[0]))
    assert descent.slack > 1


def test_a_shorter_step_leads_to_the_same_filters():
    sample, first, head = drawn(5, 3, 1, 8, seed=0), draw(1000, 9), signs(1000, 0, "test")
    ends = [train(first, head, sample, 1000, rate, 0.0) for rate in (3.0, 1.0)]
    assert ends[0][1].steps < ends[1][1].steps
    assert ends[0][1].drift == pytest.approx(ends[1][1].drift, rel=0.01)


def test_a_step_that_is_far_too_long_is_a_divergence():
    sample, first, head = drawn(5, 3, 1, 8, seed=0), draw(100, 9), signs(100, 0, "test")
    with pytest.raises(DivergedError, match="not finite"):
        train(first, head, sample, 100, 1e160, 0.0)


def test_a_seed_gives_the_same_numbers_alone_and_among_others():
    several = drained(measure(Orcnn(width=60, p=(0.2, 0.5), seeds=3)))
    alone = drained(measure(Orcnn(width=60, p=(0.2,), seeds=1, first_seed=2)))
    assert alone[0].finetuned[0.2] == several[2].finetuned[0.2]


def test_a_width_of_which_nothing_is_left_is_refused():
    with pytest.raises(UsageError, match=r"no filter is left at p 0\.9"):
        Orcnn(width=4)
    with pytest.raises(UsageError, match="samples is 0"):
        Orcnn(samples=0)
