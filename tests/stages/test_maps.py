import pytest
import torch
from torch import nn

from tests.explain.nets import images, resnet
from ticketcli.explain.boxes import box_of
from ticketcli.explain.maps import energy_map
from ticketcli.explain.search import GatedNetwork
from ticketcli.explain.targets import ClassTarget
from ticketcli.stages.maps import Looker, Searching

ONCE_AND_AGAIN = Searching(sweeps=10, ratio=0.0, border=False)


def counter_example():
    """Where FSP as published ends below where it began: S = relu(5 x) - 10 relu(x - 0.95 y)."""
    first, second, last = nn.Conv2d(3, 2, 1, bias=False), nn.Conv2d(2, 2, 1, bias=False), nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).view(2, 3, 1, 1))
        second.weight.copy_(torch.tensor([[5.0, 0.0], [1.0, -0.95]]).view(2, 2, 1, 1))
        last.weight.copy_(torch.tensor([[1.0, -10.0]]))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), last).eval()


def test_fsp_is_guarded_and_fsp_unguarded_is_as_published():
    looker = Looker(counter_example(), ("fsp", "fsp-unguarded"), ONCE_AND_AGAIN)
    found = looker.look(torch.ones(1, 3, 1, 1), torch.zeros(1, dtype=torch.int64)).feedback
    assert found["fsp"].scores[0, 0] == pytest.approx(4.5)
    assert found["fsp"].scores[0, -1] >= 4.5 - 1e-5
    assert found["fsp-unguarded"].scores[0, -1] == pytest.approx(0)


def test_fsp_fr_is_searched_for_with_all_that_is_set():
    net, x, labels = resnet(2), images(3, 16), torch.arange(3)
    set_ = {"ratio": 0.1, "border": True, "fsp_ratio": 1.0, "middle": "layer1.0.relu#2"}
    looked = Looker(net, ("fsp-fr", "fsp-fr-unguarded"), Searching(sweeps=1, **set_)).look(x, labels)
    for method, guard in (("fsp-fr", "backtrack"), ("fsp-fr-unguarded", "none")):
        found = GatedNetwork(net).search(x, ClassTarget(labels), mode="fsp-fr", max_sweeps=1, guard=guard, **set_)
        assert torch.equal(looked.feedback[method].scores, found.scores)
        assert torch.equal(looked.maps[method], energy_map(found.input_gradient).float())
    assert not torch.equal(*looked.maps.values())


def test_maps_that_see_no_image_are_a_box_in_the_centre_of_any_size_and_the_whole_image():
    images = torch.rand(2, 3, 20, 40)
    maps = Looker(nn.Identity(), ("centre", "whole"), ONCE_AND_AGAIN).look(images, torch.zeros(2)).maps
    assert maps["centre"].shape == maps["whole"].shape == (2, 20, 40)
    assert box_of(maps["whole"][0], 0.6).tolist() == [0, 0, 40, 20]
    assert box_of(maps["centre"][1], 0.5).tolist() == pytest.approx([10, 5, 30, 15], abs=1)
    assert box_of(maps["centre"][1], 0.2).tolist() == pytest.approx([4, 2, 36, 18], abs=1)
