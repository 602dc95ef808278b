"""The norm that a training is watched by is that of all gradients, however they lie in memory."""

import pytest
import torch
from torch import nn

from ticketcli.errors import DivergedError
from ticketcli.training.divergence import gradient_norm, require_finite

NOTHING = 0.0


def parameters(layout=torch.contiguous_format, n=3):
    """A filter bank, a bias without a gradient, and a vector, as a network has them."""
    draw = torch.Generator().manual_seed(n)
    shapes = (5, n, 3, 3), (4,), (7,)
    made = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for one in (made[0], made[2]):
        one.grad = torch.randn(one.shape, generator=draw)
    made[0].grad = made[0].grad.to(memory_format=layout)
    return made


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_norm_is_that_of_all_gradients_as_one_vector(layout):
    asked = parameters(layout)
    wanted = torch.cat([one.grad.double().flatten() for one in asked if one.grad is not None]).norm()
    assert gradient_norm(asked, None).double() == pytest.approx(wanted.item(), rel=1e-6)
    assert gradient_norm(asked, 1e6).double() == pytest.approx(wanted.item(), rel=1e-6)


def test_without_a_gradient_the_norm_is_nothing():
    assert gradient_norm([nn.Parameter(torch.ones(3))], None) == NOTHING


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bad", ["inf", "-inf", "nan"])
def test_one_bad_gradient_is_noticed(layout, bad):
    asked = parameters(layout)
    asked[0].grad[4, 2, 1, 1] = float(bad)
    with pytest.raises(DivergedError, match="norm of the gradients"):
        require_finite(torch.tensor(1.0), gradient_norm(asked, None), where="a test", step=3)
