import pytest
import torch
from torch.nn import functional as F

from tests.channels.knockoffs.draws import covariance, draw, exchanged, joint, standard_errors, subsets
from ticketcli.channels.knockoffs.gaussian import GaussianKnockoffs, Moments
from ticketcli.channels.knockoffs.lemma2 import apart, bias_noise, spread
from ticketcli.errors import UsageError

P = 5


@pytest.fixture
def layer():
    """Covariance and s of what a layer is given, and its weight [q, p]."""
    sigma = covariance(P)
    s = GaussianKnockoffs(Moments(torch.zeros(P, dtype=torch.float64), sigma, 100)).s
    weight = torch.randn(P, P, dtype=torch.float64, generator=draw())
    return sigma, s, weight


def through(weight, sigma, s):
    """The joint covariance behind the layer, without noise; weight [q, p]."""
    p = weight.shape[1]
    both = torch.zeros(2 * len(weight), 2 * p, dtype=torch.float64)
    both[: len(weight), :p] = both[len(weight) :, p:] = weight
    return both @ joint(sigma, s) @ both.T


def noise_covariance(noise):
    return torch.cat([torch.cat([noise.covariance, noise.cross], 1), torch.cat([noise.cross.T, noise.covariance], 1)])


def test_with_the_noise_of_lemma_2_outputs_can_be_exchanged_in_any_subset(layer):
    """S1."""
    sigma, s, weight = layer
    noise = bias_noise(spread(weight, s))
    after = through(weight, sigma, s) + noise_covariance(noise)
    torch.testing.assert_close(after, joint(weight @ sigma @ weight.T + noise.covariance, noise.s))  # S.3 is S.4
    for which in subsets(P):
        torch.testing.assert_close(exchanged(joint(sigma, s), which), joint(sigma, s), rtol=0, atol=1e-12)
        torch.testing.assert_close(exchanged(after, which), after, rtol=0, atol=1e-10)


def test_without_noise_they_cannot(layer):
    """S3, the negative control."""
    sigma, s, weight = layer
    after = through(weight, sigma, s)
    worst = max(float((exchanged(after, which) - after).abs().max()) for which in subsets(P))
    assert worst > 0.1 * float(after.diagonal().max())
    torch.testing.assert_close(exchanged(after, range(P)), after)  # exchanged whole, even these are alike


def test_the_noise_has_a_covariance_if_and_only_if_s5_holds(layer):
    """S1."""
    _, s, weight = layer
    m = spread(weight, s)
    top = float(torch.linalg.eigvalsh(m)[-1])
    for scale, holds in ((1.01, True), (0.9, False)):
        wanted = torch.full((P,), scale * top, dtype=torch.float64)
        least = (torch.diag(wanted) - m) / 2
        for more, is_enough in ((0.01, True), (-0.01, False)):
            covariance_ = least + more * top * torch.eye(P, dtype=torch.float64)
            both = torch.cat([torch.cat([covariance_, covariance_ - 2 * least], 1),
                              torch.cat([covariance_ - 2 * least, covariance_], 1)])  # fmt: skip
            psd = bool(torch.linalg.eigvalsh(both)[0] >= -1e-9)
            assert psd == (holds and is_enough)
            if psd:
                bias_noise(m, s=wanted, covariance=covariance_)
            else:
                with pytest.raises(UsageError, match="negative variance"):
                    bias_noise(m, s=wanted, covariance=covariance_)


def test_drawn_noise_has_the_covariance_that_was_asked_for(layer):
    """S2."""
    _, s, weight = layer
    noise = bias_noise(spread(weight, s), gamma=0.1)
    sample = torch.cat(noise.draw(40_000, draw(3)), dim=1)
    assert float(standard_errors(sample, noise_covariance(noise)).abs().max()) < 4


def test_the_noise_is_larger_than_the_signal():
    """The trap: 1.3 to 2.9 times the signal's variance in a random layer of 64 channels."""
    weight = torch.randn(64, 64, dtype=torch.float64, generator=draw()) / 8
    noise = bias_noise(spread(weight, torch.ones(64, dtype=torch.float64)))
    signal = (weight @ weight.T).trace()
    assert 1.2 < float(noise.covariance.trace() / signal) < 3


def test_a_convolution_spreads_s_over_all_its_taps():
    weight = torch.randn(4, 3, 2, 2, dtype=torch.float64, generator=draw())
    s = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    flat = weight.flatten(1)  # [q, p taps], taps of a channel beside each other
    torch.testing.assert_close(spread(weight, s), flat @ torch.diag(s.repeat_interleave(4)) @ flat.T)
    impulse = torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=draw(1))
    torch.testing.assert_close(F.conv2d(impulse, weight).flatten(1), impulse.flatten(1) @ flat.T)


def test_s_is_measured_as_variance_less_covariance():
    sigma = covariance(3)
    source = GaussianKnockoffs(Moments(torch.zeros(3, dtype=torch.float64), sigma, 100))
    x = torch.randn(20_000, 3, dtype=torch.float64, generator=draw()) @ torch.linalg.cholesky(sigma).T
    torch.testing.assert_close(apart(x, source(x, draw(1))), source.s, rtol=0.1, atol=0.01)
    maps = x[:200].view(10, 4, 5, 3).movedim(-1, 1)
    assert float(apart(maps, maps).abs().max()) == 0
