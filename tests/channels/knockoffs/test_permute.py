import pytest
import torch

from tests.channels.knockoffs.draws import draw
from ticketcli.channels.knockoffs.permute import permuted
from ticketcli.errors import UsageError


@pytest.mark.parametrize("n", [2, 3, 8])
def test_every_image_is_the_control_of_another(n):
    x = torch.arange(float(n))[:, None]
    for number in range(20):
        found = permuted(x, draw(number))[:, 0]
        assert sorted(found.tolist()) == x[:, 0].tolist()
        assert not bool((found == x[:, 0]).any())


def test_each_other_image_is_as_likely():
    x = torch.arange(3.0)[:, None]
    n = sum(float(permuted(x, draw(number))[0]) == 1 for number in range(400))
    assert 150 < n < 250


def test_an_image_alone_has_no_control():
    with pytest.raises(UsageError, match="alone in its batch"):
        permuted(torch.zeros(1, 3), draw())
