"""Random networks in float64, small and of every kind that gates stand in; and their images."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.channels.nets import lived
from ticketcli.explain.targets import ClassTarget
from ticketcli.models.resnet import ResNet
from ticketcli.models.resnet_shape import Shape
from ticketcli.tensors.seeds import generator


def filled(model, seed):
    """Values from a seed, biases too; in eval mode."""
    draw = generator(seed, "test explain")
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.weight.data = torch.randn(part.weight.shape, generator=draw) / part.weight[0].numel() ** 0.5
            if part.bias is not None:
                part.bias.data = torch.randn(part.bias.shape, generator=draw) / 2
    return lived(model, seed)


def images(n=2, side=9, seed=0):
    return torch.randn(n, 3, side, side, dtype=torch.float64, generator=generator(seed, "test explain images"))


def classes(n, n_classes=4):
    return ClassTarget(torch.arange(n) % n_classes)


def mlp(seed, widths=(12, 9, 7)):
    """On images of 2 pixels a side."""
    sides = (12, *widths)
    layers = [one for k in range(len(widths)) for one in (nn.Linear(sides[k], sides[k + 1]), nn.ReLU())]
    return filled(nn.Sequential(nn.Flatten(), *layers, nn.Linear(sides[-1], 4)), seed)


def resnet(seed, *, stem=7, block="basic"):
    """With BatchNorm, strides and projections, and an overlapping max-pool where the stem has 7 pixels a side."""
    return filled(ResNet(Shape((1, 2), (4, 6), stem=stem, block=block), 4, generator(seed, "test explain")), seed)


class Pooled(nn.Module):
    """An overlapping max-pool behind the first ReLU."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.first(x)), 3, 2, 1)
        return self.head(F.relu(self.second(x)).mean((2, 3)))


class Plain(nn.Module):
    """Modules only, as in VGG: two pools, none of which overlaps, and a hidden layer behind the maps."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 7, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Linear(7 * 4, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 4))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Gradual(nn.Module):
    """A state that is signed, updated part by part, as GUNN's: only the ReLUs inside the units have gates."""

    def __init__(self):
        super().__init__()
        self.enter, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.units = nn.ModuleList(
            nn.Sequential(nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1)) for _ in range(2)
        )
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        split = self.norm(self.enter(x)).split(3, dim=1)
        state = [split[0], split[1]]
        for place, unit in enumerate(self.units):
            state[place] = state[place] + unit(torch.cat(state, dim=1))
        return self.head(torch.cat(state, dim=1).mean((2, 3)))


def counter_example():
    """X = (1, 1); S = relu(a) - 10 relu(b), (a, b) = W1 (z x): the published FSP goes from 4.5 to 0, and FR to 5."""
    first, second, last = nn.Linear(2, 2), nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
    net = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), last).double().eval()
    with torch.no_grad():
        first.weight.zero_()
        first.bias.fill_(1.0)
        second.weight.copy_(torch.tensor([[5.0, 0.0], [1.0, -0.95]], dtype=torch.float64))
        last.weight.copy_(torch.tensor([[1.0, -10.0]]))
    return net, torch.zeros(1, 2, 1, 1, dtype=torch.float64), ClassTarget(torch.tensor([0]))
