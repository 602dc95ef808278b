import pytest
import torch
from torch import nn

from ticketcli.errors import MismatchError, TicketError
from ticketcli.store.mask import Mask
from ticketcli.tensors.masking import MaskedWeights


def net():
    """A layer of eight weights, every second one masked; negative ones among the masked and the living."""
    layer = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-1.0, -2.0, 3.0, 4.0], [-5.0, -6.0, 7.0, 8.0]]))
    mask = Mask({"weight": [[True, False] * 2, [False, True] * 2]})
    return layer, mask, MaskedWeights(dict(layer.named_parameters()), mask)


def dead_bits(layer, mask):
    return layer.weight.detach()[~torch.from_numpy(mask["weight"].copy())].view(torch.int32)


def test_masked_weights_become_positive_zero_whatever_their_sign():
    layer, mask, masked = net()
    masked.apply()
    assert dead_bits(layer, mask).tolist() == [0, 0, 0, 0]
    masked.require_masked()


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.05),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.05, nesterov=True),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    ],
    ids=["sgd", "nesterov", "adamw"],
)
def test_masked_weights_stay_exactly_zero_under_momentum_decay_and_clipping(optimizer):
    """Peer defect 8: momentum revived masked weights, decay moved them."""
    layer, mask, masked = net()
    rule = optimizer(layer.parameters())
    for _ in range(3):  # momentum gathers before the mask falls
        rule.zero_grad()
        layer(torch.randn(8, 4)).square().sum().backward()
        rule.step()
    rule = optimizer(layer.parameters())
    masked.apply()
    for _ in range(50):
        rule.zero_grad()
        (layer(torch.randn(8, 4)) - 1).square().sum().backward()
        masked.mask_gradients()
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        rule.step()
        assert dead_bits(layer, mask).tolist() == [0, 0, 0, 0]
    assert int((layer.weight != 0).sum()) == 4


def test_the_clipped_norm_is_that_of_the_living_gradients():
    """Peer defect 9: masking after clipping scales by the wrong norm."""
    layer, _, masked = net()
    layer.weight.grad = torch.tensor([[3.0, 100.0, 0.0, 100.0], [100.0, 4.0, 100.0, 0.0]])
    masked.mask_gradients()
    assert float(nn.utils.clip_grad_norm_(layer.parameters(), 1.0)) == pytest.approx(5.0)


def test_parameters_without_gradients_are_passed_over():
    layer = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    mask = Mask({name: [[True, False], [False, True]] for name, _ in layer.named_parameters()})
    masked = MaskedWeights(dict(layer.named_parameters()), mask)
    layer[1].weight.grad = torch.ones(2, 2)
    masked.mask_gradients()
    assert layer[0].weight.grad is None
    assert layer[1].weight.grad.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_the_enforced_mask_can_be_read_but_not_exchanged():
    _, mask, masked = net()
    assert masked.mask is mask
    with pytest.raises(AttributeError, match="mask"):
        masked.mask = Mask.full(mask.shapes)


@pytest.mark.parametrize("value", [1e-30, -0.0, float("nan")])
def test_a_masked_weight_that_moved_is_found(value):
    layer, _, masked = net()
    masked.apply()
    with torch.no_grad():
        layer.weight[0, 1] = value
    with pytest.raises(TicketError, match="a masked weight has moved"):
        masked.require_masked()


def test_a_mask_of_another_network_is_refused():
    layer, _, _ = net()
    with pytest.raises(MismatchError, match=r"the mask is \(4, 2\)"):
        MaskedWeights(dict(layer.named_parameters()), Mask.full({"weight": (4, 2)}))
    with pytest.raises(MismatchError, match="the mask has 'other'"):
        MaskedWeights(dict(layer.named_parameters()), Mask.full({"weight": (2, 4), "other": (1,)}))
