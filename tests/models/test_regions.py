import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from ticketcli.models.regions import Regions

SIDE = 64  # of two images


def levels_and_boxes(*, seed=0, n=40):
    """Three levels of strides 4, 8 and 16, and boxes of all sizes, of which many cross the border."""
    draw = torch.Generator().manual_seed(seed)
    levels = {str(k): torch.randn(2, 5, SIDE >> k + 2, SIDE >> k + 2, generator=draw) for k in range(3)}
    levels["pool"] = torch.randn(2, 5, 2, 2, generator=draw)
    corners = torch.rand(2, n, 2, generator=draw) * (SIDE + 30) - 20
    sides = torch.rand(2, n, 2, generator=draw) ** 3 * 250
    return levels, list(torch.cat([corners, corners + sides], dim=2))


def torchvisions(side):
    return MultiScaleRoIAlign(["0", "1", "2"], side, sampling_ratio=2)


@pytest.mark.parametrize("side", [7, 14])
def test_values_are_torchvisions_to_the_bit_and_gradients_to_rounding(side):
    levels, boxes = levels_and_boxes()
    ours, theirs = Regions((4, 8, 16), side), torchvisions(side)
    weight = torch.randn(80, 5, side, side, generator=torch.Generator().manual_seed(1))
    results = []
    for pool in (ours, theirs):
        given = {name: level.clone().requires_grad_() for name, level in levels.items()}
        cut = pool(given, boxes, [(SIDE, SIDE)] * 2)
        (cut * weight).sum().backward()
        results.append((cut.detach(), [given[name].grad for name in ("0", "1", "2")]))
    (values, slopes), (expected, exact) = results
    assert torch.equal(values, expected)
    assert all(bool(one.any()) for one in exact)  # every level has boxes
    for one, other in zip(slopes, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_without_gradients_values_are_the_same():
    levels, boxes = levels_and_boxes()
    pool = Regions((4, 8, 16), 7)
    with torch.no_grad():
        without = pool(levels, boxes, [(SIDE, SIDE)] * 2)
    assert torch.equal(without, pool(levels, boxes, [(SIDE, SIDE)] * 2))


def test_a_level_without_boxes_and_an_image_without_boxes():
    levels, boxes = levels_and_boxes(n=1)
    given = {name: level.requires_grad_() for name, level in levels.items()}
    Regions((4, 8, 16), 7)(given, [boxes[0], boxes[1][:0]], [(SIDE, SIDE)] * 2).sum().backward()
    grads = [given[name].grad for name in ("0", "1", "2")]
    assert [grad.shape for grad in grads] == [given[name].shape for name in ("0", "1", "2")]
    assert sum(bool(grad.any()) for grad in grads) == 1
    assert not any(bool(grad[1].any()) for grad in grads)


def test_the_scale_is_true_when_an_image_is_much_smaller_than_its_padding():
    ramp = {name: torch.arange(16.0).expand(1, 1, 16, 16) for name in ("0", "1")}  # what each column of a level is
    box, shown = torch.tensor([[8.0, 8.0, 24.0, 24.0]]), [(33, 33)]
    assert float(Regions((4, 8), 7)(ramp, [box], shown).mean()) == pytest.approx(16 / 4, abs=1e-5)
    assert float(MultiScaleRoIAlign(["0", "1"], 7, 2)(ramp, [box], shown).mean()) != pytest.approx(16 / 4, abs=1e-1)
