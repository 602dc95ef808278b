import pytest
import torch
from torch import nn

from tests.drained import drained
from ticketcli.store.mask import Mask
from ticketcli.training.gradient_ratio import gradient_ratio
from ticketcli.training.recalibrate import recalibrate


def test_recalibrated_statistics_are_the_plain_average_over_all_batches():
    norm = nn.BatchNorm2d(3)
    model = nn.Sequential(norm).eval()
    batches = [(torch.randn(16, 3, 4, 4) * 2 + 5, torch.zeros(16)) for _ in range(5)]
    drained(recalibrate(model, batches))
    assert torch.allclose(
        norm.running_mean, torch.stack([x.mean(dim=(0, 2, 3)) for x, _ in batches]).mean(0), atol=1e-5
    )
    assert torch.allclose(norm.running_var, torch.stack([x.var(dim=(0, 2, 3)) for x, _ in batches]).mean(0), rtol=1e-4)
    assert norm.momentum == 0.1
    assert not model.training


def test_recalibration_moves_no_parameter():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    before = [parameter.clone() for parameter in model.parameters()]
    drained(recalibrate(model, [(torch.randn(4, 3, 2, 2), torch.zeros(4))]))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def ratio(mask, model):
    losses = lambda x, y: (model(x).sum(), 3 * model(x)[:, :1].sum())  # noqa: E731
    return gradient_ratio(model, dict(model.named_parameters()), mask, losses, [(torch.ones(2, 2), torch.zeros(2))])


def test_the_ratio_is_that_of_the_norms_over_living_weights():
    model = nn.Linear(2, 2, bias=False)
    assert ratio(Mask.full({"weight": (2, 2)}), model) == pytest.approx(3 / 2**0.5)
    assert ratio(Mask({"weight": [[True, True], [False, False]]}), model) == pytest.approx(3.0)
    assert ratio(Mask({"weight": [[False, False], [True, True]]}), model) == pytest.approx(0.0)


def test_measuring_the_ratio_leaves_gradients_statistics_and_mode_alone():
    model = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.BatchNorm2d(2)).eval()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    mask = Mask.full({"0.weight": (2, 3, 1, 1)})
    losses = lambda x, y: (model(x).square().sum(), model(x).abs().sum())  # noqa: E731
    gradient_ratio(model, {"0.weight": model[0].weight}, mask, losses, [(torch.randn(4, 3, 2, 2), torch.zeros(4))])
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    assert model[0].weight.grad is None
    assert not model.training


def test_the_ratio_is_the_same_in_parts():
    model = nn.Linear(3, 2, bias=False)
    losses = lambda x, y: (nn.functional.cross_entropy(model(x), y), model(x).square().mean())  # noqa: E731
    draw = torch.Generator().manual_seed(0)
    batch = torch.randn(7, 3, generator=draw), torch.randint(2, (7,), generator=draw)
    weights, mask = dict(model.named_parameters()), Mask.full({"weight": (2, 3)})
    found = [gradient_ratio(model, weights, mask, losses, [batch], micro_batch=n) for n in (None, 3, 1)]
    assert found == pytest.approx([found[0]] * 3, rel=1e-4)
