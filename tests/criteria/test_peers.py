"""What users would take instead keeps the same weights, where it says the same."""

import torch
from torch import nn
from torch.nn.utils import prune

from tests.criteria.layerwise.layers import columns, gram_of, weights
from ticketcli.criteria.layerwise.layer import prune_layer
from ticketcli.criteria.magnitude import magnitude
from ticketcli.criteria.selection import Request
from ticketcli.store.mask import Mask


def test_magnitude_by_layer_keeps_what_torchs_pruning_keeps():
    layer = nn.Conv2d(5, 7, 3)
    values = {"conv.weight": layer.weight.detach().clone()}
    ours = magnitude(Request(values, Mask.full({"conv.weight": (7, 5, 3, 3)}), {"conv.weight": 63}, 0))
    prune.l1_unstructured(layer, "weight", amount=7 * 5 * 9 - 63)
    assert (ours["conv.weight"] == layer.weight_mask.bool().numpy()).all()


def test_wanda_keeps_what_its_published_lines_keep():
    rows, weight = columns(200, 24, spread=1.0), weights(10, 24)
    found = prune_layer(weight, gram_of(rows), method="wanda", kept=120, centre=False)
    scores = weight.abs() * rows.square().mean(dim=0).sqrt()  # |W| times the norm of each input
    theirs = torch.ones_like(weight, dtype=torch.bool)
    theirs.scatter_(1, scores.argsort(dim=1)[:, :12], value=False)  # half of each output
    assert (found.mask == theirs).all()
