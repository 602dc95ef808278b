"""What may stand between a layer and its readers: whatever it is, the compact network says what the masked one says."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.channels.nets import images, lived, masked
from ticketcli.channels.compact import compact
from ticketcli.channels.graph import channel_graph
from ticketcli.channels.masks import expanded

KEEPS_APART = {
    "nothing": lambda x: x,
    "sigmoid, of which a zero is a half": torch.sigmoid,
    "leaky relu": lambda x: F.leaky_relu(x, 0.1),
    "relu in place": torch.relu_,
    "silu": F.silu,
    "max-pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "average pool": lambda x: F.avg_pool2d(x, 2),
    "interpolation": lambda x: F.interpolate(x, scale_factor=2.0),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
}
MIXES = {
    "softmax over channels": lambda x: x.softmax(1),
    "another order of channels": lambda x: x.flip(1),
    "channels made space": lambda x: F.pixel_shuffle(x, 2).repeat(1, 4, 1, 1),
    "a mean over channels": lambda x: x - x.mean(dim=(1, 2)).mean(1)[:, None, None, None],
    "its own square": lambda x: x * x,
    "a sum with a number": lambda x: x + 1,
    "channels beside themselves": lambda x: torch.cat([x, x], 1)[:, :8],
    "a shift of space and channels": lambda x: x.roll((1, 1), dims=(1, 2)),
}


class Between(nn.Module):
    def __init__(self, between, reader, flat=None):
        super().__init__()
        self.stem, self.conv, self.bn = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.between, self.reader, self.flat = between, reader, flat

    def forward(self, x):
        x = self.between(self.bn(self.conv(self.stem(x))))
        return self.reader(x if self.flat is None else self.flat(x))


def check(model):
    """The group of `conv`, after both networks have said the same."""
    model = lived(model)
    graph = channel_graph(model)
    channels = {"conv": torch.tensor([True, False, True, True, False, False, True, False])}
    with torch.no_grad():
        ours, theirs = (
            compact(model, channels)(images(2, 4)),
            masked(model, expanded(model, graph, channels))(images(2, 4)),
        )
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert float((ours - model(images(2, 4))).detach().abs().max()) > 1e-3
    return graph["conv"]


@pytest.mark.parametrize("name", KEEPS_APART)
def test_what_keeps_channels_apart_lets_them_go(name):
    """S8."""
    assert not check(Between(KEEPS_APART[name], nn.Conv2d(8, 2, 1))).joins_sum


@pytest.mark.parametrize("name", MIXES)
def test_what_mixes_channels_keeps_the_width(name):
    """S8."""
    assert check(Between(MIXES[name], nn.Conv2d(8, 2, 1))).joins_sum


FLAT = {
    "flatten": (lambda x: torch.flatten(x, 1), 16),
    "flatten as a method": (lambda x: x.flatten(1), 16),
    "flatten as a layer": (nn.Flatten(), 16),
    "view": (lambda x: x.view(x.size(0), -1), 16),
    "reshape": (lambda x: x.reshape((x.shape[0], -1)), 16),
    "mean": (lambda x: x.mean((2, 3)), 1),
    "mean kept, then flat": (lambda x: x.mean(dim=[-1, -2], keepdim=True).flatten(1), 1),
    "adaptive pool": (lambda x: F.adaptive_avg_pool2d(x, 2).flatten(1), 4),
}


@pytest.mark.parametrize("name", FLAT)
def test_a_flat_map_has_so_many_columns_a_channel(name):
    """S8."""
    flat, columns = FLAT[name]
    group = check(Between(torch.relu, nn.Linear(8 * columns, 3), flat))
    assert [consumer.columns for consumer in group.consumers] == [columns]


MIXED_FLAT = {
    "space before channels": (lambda x: x.permute(0, 2, 3, 1).flatten(1), nn.Linear(128, 3)),
    "a linear layer along a row of pixels": (lambda x: x, nn.Linear(4, 3)),
    "all images in one row": (lambda x: x.view(1, -1), nn.Linear(256, 3)),
    "a mean of one direction": (lambda x: x.mean(2).flatten(1), nn.Linear(32, 3)),
    "a flat map with its size": (lambda x: x.reshape(x.shape[0], 128), nn.Linear(128, 3)),
}


@pytest.mark.parametrize("name", MIXED_FLAT)
def test_what_is_not_known_to_be_flat_keeps_the_width(name):
    """S8."""
    flat, reader = MIXED_FLAT[name]
    assert check(Between(torch.relu, reader, flat)).joins_sum
