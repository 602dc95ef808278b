import pytest
import torch
from torch import nn

from ticketcli.models.architectures import build_encoder
from ticketcli.models.cost import cost_of, in_words, macs, macs_by_layer, outline, tap_outlines


def test_multiply_adds_are_counted_by_hand():
    model = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1, groups=2), nn.Flatten(), nn.Linear(8 * 4 * 4, 5))
    assert macs(model, torch.zeros(1, 4, 8, 8)) == 8 * 4 * 4 * (2 * 9) + 8 * 4 * 4 * 5


def test_multiply_adds_are_told_by_layer_in_order_of_use_and_a_layer_used_twice_counts_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first, self.unused = nn.Linear(4, 4), nn.Conv2d(3, 4, 1), nn.Linear(9, 9)

        def forward(self, x):
            return self.second(self.second(self.first(x).mean(dim=(2, 3))))

    assert list(macs_by_layer(Twice(), torch.zeros(1, 3, 2, 2)).items()) == [("first", 48), ("second", 32)]


def test_the_published_cost_of_resnet50():
    cost = cost_of(build_encoder("resnet50", n_classes=1000, seed=0), 224)
    assert cost == {"parameters": 25_557_032, "macs": 4_089_184_256}
    assert in_words(cost) == "25,557,032 weights, 4,089.2 M multiply-adds an image"


def test_counting_leaves_values_modes_and_statistics_alone():
    model = build_encoder("resnet20", n_classes=10, seed=0)
    model.bn1.eval()  # frozen on purpose
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cost_of(model, 32)
    assert (model.training, model.bn1.training) == (True, False)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_outlines_have_the_shapes_of_the_real_thing_and_no_values():
    model = build_encoder("resnet18", n_classes=10, seed=0).eval()
    outlines, taps = tap_outlines(model, 65), model.taps(torch.zeros(1, 3, 65, 65))
    assert [tuple(tap.shape) for tap in outlines.values()] == [tuple(tap.shape) for tap in taps.values()]
    assert all(tap.is_meta for tap in outlines.values())


def test_modes_are_put_back_when_a_network_cannot_run():
    model = nn.Linear(3, 2).train()
    with pytest.raises(RuntimeError, match=r"reduction dim|shape"):
        outline(model, torch.zeros(1, 4))
    assert model.training
