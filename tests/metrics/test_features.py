import pytest
import torch
from torch import nn

from tests.drained import drained
from ticketcli.errors import MismatchError
from ticketcli.metrics.features import Pair, feature_distances
from ticketcli.tensors.seeds import generator


class Seen(nn.Module):
    """Its taps are functions of the image."""

    def __init__(self, **taps):
        super().__init__()
        self.functions = taps
        self.bn = nn.BatchNorm2d(3)

    def taps(self, images):
        assert not self.training
        return {name: function(images) for name, function in self.functions.items()}


IMAGES = torch.randn((7, 3, 4, 6), generator=generator(0, "test")) + 0.5
STRIPES = torch.tensor([1.0, -1.0]).repeat(3)  # along the width: no mean


def batches(*sizes):
    return [(part, torch.zeros(len(part), dtype=torch.int64)) for part in IMAGES.split(sizes)]


def compared(encoder, dense, *sizes):
    pair = Pair(encoder, dense, {}, {})
    return drained(feature_distances(pair, batches(*(sizes or (7,))), seen=lambda batch: batch, what="features"))


def test_equal_networks_are_at_distance_0():
    same = Seen(layer1=lambda x: x)
    assert compared(same, same, 4, 3) == {"layer1": {"r_map": 0.0, "r_pool": 0.0, "ratio": None}}


def test_a_network_that_is_larger_by_a_share_is_that_share_away_in_both():
    found = compared(Seen(layer1=lambda x: 1.25 * x), Seen(layer1=lambda x: x))["layer1"]
    assert found["r_map"] == pytest.approx(0.25)
    assert found["r_pool"] == pytest.approx(0.25)
    assert found["ratio"] == pytest.approx(1)


def test_what_has_no_mean_in_space_is_seen_in_the_map_alone():
    ones = Seen(layer1=lambda x: torch.ones_like(x))
    found = compared(Seen(layer1=lambda x: torch.ones_like(x) + 0.5 * STRIPES), ones)["layer1"]
    assert found == {"r_map": pytest.approx(0.5), "r_pool": 0.0, "ratio": None}


def test_a_known_change_of_mean_and_of_detail_has_the_ratio_that_it_should():
    ones = Seen(layer1=lambda x: torch.ones_like(x))
    found = compared(Seen(layer1=lambda x: 1.3 * torch.ones_like(x) + 0.4 * STRIPES), ones)["layer1"]
    assert found["r_pool"] == pytest.approx(0.3)
    assert found["r_map"] == pytest.approx(0.5)
    assert found["ratio"] == pytest.approx(5 / 3)


def test_the_distance_is_measured_in_dense_features():
    found = compared(Seen(layer1=lambda x: 3 * x), Seen(layer1=lambda x: x))["layer1"]
    assert found["r_map"] == pytest.approx(2)


def test_batch_by_batch_is_all_at_once():
    encoder, dense = Seen(a=lambda x: x.relu(), b=lambda x: x.square()), Seen(a=lambda x: x, b=lambda x: 2 * x.square())
    whole, parts = compared(encoder, dense), compared(encoder, dense, 3, 3, 1)
    off = (IMAGES.relu() - IMAGES).double()
    assert whole["a"]["r_map"] == pytest.approx(float(off.norm() / IMAGES.double().norm()))
    pool = off.mean(dim=(2, 3)).norm() / IMAGES.double().mean(dim=(2, 3)).norm()
    assert whole["a"]["r_pool"] == pytest.approx(float(pool))
    for tap in whole:
        assert parts[tap] == pytest.approx(whole[tap], rel=1e-6)


def test_a_tap_that_is_dead_in_dense_has_no_distance():
    found = compared(Seen(layer1=lambda x: x), Seen(layer1=lambda x: 0 * x))["layer1"]
    assert found == {"r_map": None, "r_pool": None, "ratio": None}


def test_networks_of_other_taps_cannot_be_compared():
    dense = Seen(layer1=lambda x: x)
    with pytest.raises(MismatchError, match="the taps are other; those of the dense network layer1"):
        compared(Seen(other=lambda x: x), dense)
    with pytest.raises(MismatchError, match="the maps of layer1 are 3 x 2 x 6; those of the dense network 3 x 4 x 6"):
        compared(Seen(layer1=lambda x: x[:, :, ::2]), dense)


def test_modes_are_put_back():
    encoder, dense = Seen(layer1=lambda x: x).train(), Seen(layer1=lambda x: x).train()
    encoder.bn.eval()
    compared(encoder, dense)
    assert (encoder.training, encoder.bn.training, dense.bn.training) == (True, False, True)
