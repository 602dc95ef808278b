import pytest
import torch

from tests.channels.knockoffs.draws import covariance, draw, exchanged, joint, rows, standard_errors, subsets
from ticketcli.channels.knockoffs.diagnostics import diagnose
from ticketcli.channels.knockoffs.gaussian import GaussianKnockoffs, Moments, MomentSums, positions
from ticketcli.channels.knockoffs.source import pixel_blocks
from ticketcli.errors import MismatchError, UsageError

P = 5


def source_of(sigma, mean=0.0, **settings):
    return GaussianKnockoffs(Moments(torch.full((len(sigma),), mean, dtype=torch.float64), sigma, 1000), **settings)


def regression(source):
    """I - Sigma^-1 D, as the source applies it to a row."""
    p = len(source.s)
    quiet = GaussianKnockoffs.__new__(GaussianKnockoffs)
    quiet.__dict__ |= {**source.__dict__, "_root": torch.zeros(p, p, dtype=torch.float64)}
    return quiet(torch.eye(p, dtype=torch.float64), draw()) - quiet(torch.zeros(1, p, dtype=torch.float64), draw())


@pytest.mark.parametrize("groups", [None, torch.tensor([0, 1, 0, 2, 1])])
def test_their_joint_covariance_is_that_of_second_order_knockoffs(groups):
    """S4."""
    sigma = covariance(P)
    source = source_of(sigma, groups=groups)
    pull = regression(source)
    torch.testing.assert_close(pull.T @ sigma @ pull + source.noise, sigma)
    torch.testing.assert_close(sigma @ pull, sigma - source.d)
    assert float(source.s.min()) > 0
    assert float(torch.linalg.eigvalsh(source.noise)[0]) > -1e-10
    assert float(torch.linalg.eigvalsh(joint(sigma, source.d))[0]) > -1e-10


def test_any_subset_can_be_exchanged():
    """S1, S4."""
    sigma = covariance(P)
    both = joint(sigma, source_of(sigma).d)
    for which in subsets(P):
        torch.testing.assert_close(exchanged(both, which), both, rtol=0, atol=1e-12)


def test_whole_groups_can_be_exchanged_and_parts_of_them_cannot():
    sigma = covariance(P)
    both = joint(sigma, source_of(sigma, groups=torch.tensor([0, 0, 1, 2, 2])).d)
    for which in ([0, 1], [2], [3, 4], [0, 1, 2]):
        torch.testing.assert_close(exchanged(both, which), both, rtol=0, atol=1e-12)
    assert not torch.allclose(exchanged(both, [0]), both, atol=1e-3)


def test_drawn_controls_have_that_covariance():
    """S2, S4."""
    sigma = covariance(P)
    source, x = source_of(sigma, mean=3.0), rows(40_000, sigma, mean=3.0)
    control = source(x, draw(2))
    assert float(standard_errors(torch.cat([x, control], 1), joint(sigma, source.d)).abs().max()) < 4
    assert float((control.mean(0) - 3.0).abs().max()) < 0.05


def test_s_is_as_large_as_the_smallest_eigenvalue_allows():
    sigma = covariance(P)
    size = sigma.diagonal().sqrt()
    least = float(torch.linalg.eigvalsh(sigma / torch.outer(size, size))[0])
    source = source_of(sigma)
    assert source.share == pytest.approx(min(1, 2 * least) * (1 - 1e-3))
    torch.testing.assert_close(source.s, source.share * sigma.diagonal())
    assert float(torch.linalg.eigvalsh(joint(sigma, 1.01 * source.d))[0]) < 0
    assert source_of(torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)), tolerance=0).share == 1


def test_groups_leave_room_where_single_values_have_none():
    """Two values that are nearly one, beside others."""
    sigma = torch.eye(4, dtype=torch.float64)
    sigma[0, 1] = sigma[1, 0] = 0.999
    assert source_of(sigma).share < 0.01
    assert source_of(sigma, groups=torch.tensor([0, 0, 1, 2])).share > 0.99


def test_values_that_depend_on_each_other_have_copies_for_controls():
    sigma = torch.ones(3, 3, dtype=torch.float64)
    x = rows(5, covariance(3))
    assert source_of(sigma).share == 0
    torch.testing.assert_close(source_of(sigma)(x, draw()), x)


def test_a_value_that_never_varies_is_its_own_control():
    sigma = torch.zeros(4, 4, dtype=torch.float64)
    sigma[1:, 1:] = covariance(3)
    x = torch.cat([torch.full((6, 1), 7.0, dtype=torch.float64), rows(6, covariance(3))], 1)
    source = source_of(sigma)
    assert torch.equal(source(x, draw())[:, 0], x[:, 0])
    assert not torch.allclose(source(x, draw())[:, 1:], x[:, 1:])
    assert source.correlations[0] == 1


def test_features_are_controlled_position_by_position():
    sigma = covariance(3)
    source = source_of(sigma, by_position=True)
    x = rows(2 * 4 * 5, sigma).view(2, 4, 5, 3).movedim(-1, 1)
    control = source(x.float(), draw(1))
    assert (control.shape, control.dtype) == (x.shape, torch.float32)
    torch.testing.assert_close(positions(control), source_of(sigma)(positions(x.float()), draw(1)))


def test_moments_add_up_over_batches_and_over_a_break():
    x = rows(50, covariance(3), mean=2.0)
    first, second = MomentSums(3), MomentSums(3)
    first.add(x[:20])
    second.load(first.state())
    second.add(x[20:])
    found = second.moments()
    torch.testing.assert_close(found.mean, x.mean(0))
    torch.testing.assert_close(found.covariance, torch.cov(x.T, correction=0))
    assert found.n == 50


def test_blocks_of_pixels_are_groups():
    assert pixel_blocks(2, 2, 4, 2).tolist() == [0, 0, 1, 1, 0, 0, 1, 1] * 2
    with pytest.raises(UsageError, match="do not fill"):
        pixel_blocks(3, 8, 8, 3)


def test_diagnostics_see_good_controls_and_bad_ones():
    sigma = covariance(P)
    x = rows(600, sigma, mean=1.0)
    good = diagnose(x, source_of(sigma, mean=1.0)(x, draw(5)), draw(6))
    assert max(good.mean_gap, good.covariance_gap, good.off_diagonal_gap) < 0.2
    assert abs(good.mmd_full) < 0.02
    assert abs(good.mmd_partial) < 0.02
    assert good.diagonal_correlation < 0.95
    shuffled = diagnose(x, x[torch.randperm(600, generator=draw(7))], draw(6))
    assert shuffled.covariance_gap < 1e-9
    assert shuffled.off_diagonal_gap > 0.3
    shifted = diagnose(x, 3 * x, draw(6))
    assert shifted.mean_gap > 0.5
    assert shifted.covariance_gap == pytest.approx(8)
    assert shifted.mmd_full > 0.05
    assert shifted.mmd_partial > 0.02
    copies = diagnose(x, x, draw(6))
    assert copies.diagonal_correlation == pytest.approx(1)
    assert set(copies.as_dict()) == {
        "mean_gap", "covariance_gap", "off_diagonal_gap", "diagonal_correlation", "mmd_full", "mmd_partial"
    }  # fmt: skip


def test_what_is_covariant_within_a_group_is_no_gap():
    sigma = covariance(4)
    groups = torch.tensor([0, 0, 1, 1])
    x = rows(4000, sigma)
    control = source_of(sigma, groups=groups)(x, draw(2))
    assert diagnose(x[:400], control[:400], draw(), groups=groups).off_diagonal_gap < 0.15
    assert diagnose(x[:400], control[:400], draw()).off_diagonal_gap > 0.2


def test_rows_of_another_length_are_refused():
    with pytest.raises(MismatchError, match="made for rows of 5 values, got 4"):
        source_of(covariance(5))(torch.zeros(2, 4), draw())
    with pytest.raises(UsageError, match="four different rows"):
        diagnose(torch.zeros(9, 2), torch.zeros(9, 2), draw())
