"""Small layers with correlated inputs, and the slow and obvious ways to the same results."""

import torch
from torch import nn

from ticketcli.criteria.layerwise.gram import Gram, GramAccumulator
from ticketcli.tensors.seeds import generator


def columns(n, d, seed=0, shift=0.3, spread=0.0):
    """Correlated non-negative inputs, float64 [n, d], of sizes that are apart by factors of about exp(spread)."""
    draw = generator(seed, "test columns")
    mix = torch.randn(d, d, dtype=torch.float64, generator=draw) / d**0.5
    sizes = (spread * torch.randn(d, dtype=torch.float64, generator=draw)).exp()
    return torch.relu(torch.randn(n, d, dtype=torch.float64, generator=draw) @ mix + shift) * sizes


def gram_of(rows):
    """Of one group's inputs as rows [n, d]."""
    return Gram((rows.T @ rows / len(rows))[None], rows.mean(dim=0)[None], len(rows), 1)


def weights(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed, "test weights"))


def error(change, rows):
    """E of a change [o, d], column by column."""
    return float((rows @ change.T).square().sum() / len(rows))


def least_squares(weight, kept, rows):
    """One output's best weights on a support, by a least-squares solver that knows nothing of Gram matrices."""
    found = torch.zeros_like(weight)
    target = rows @ weight
    found[kept] = torch.linalg.lstsq(rows[:, kept], target[:, None]).solution[:, 0]
    return found


def accumulated(layer, x, *, positions=None, seed=0, batch=2):
    adder = GramAccumulator(layer, positions=positions, seed=seed)
    for first in range(0, len(x), batch):
        adder.add(x[first : first + batch], first)
    return adder.finalize()


def images(n, channels, height, width, seed=0):
    return torch.randn(n, channels, height, width, dtype=torch.float64, generator=generator(seed, "test images"))


def drawn(model, seed=0):
    """The same network with values from a seed, BatchNorm statistics too."""
    draw = generator(seed, "test network")
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.weight.data = torch.randn(part.weight.shape, dtype=torch.float64, generator=draw)
            part.weight.data /= part.weight[0].numel() ** 0.5
            if part.bias is not None:
                part.bias.data = torch.randn(part.bias.shape, dtype=torch.float64, generator=draw) / 10
        elif isinstance(part, nn.BatchNorm2d):
            for value in (part.weight.data, part.running_var):
                value.copy_(torch.rand(value.shape, dtype=torch.float64, generator=draw) + 0.5)
            part.weight.data[0] *= -1
    return model.double().eval()
