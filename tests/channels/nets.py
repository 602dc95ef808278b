"""Small networks of every kind that channels fall from, in float64, with statistics that are not their first ones."""

import copy

import torch
from torch import nn

from ticketcli.models.architectures import build_encoder
from ticketcli.models.resnet import ResNet
from ticketcli.models.resnet_shape import Shape
from ticketcli.tensors.seeds import generator


def lived(model, seed=0):
    """As after a training: every BatchNorm with its own scale, shift and statistics."""
    draw = generator(seed, "test statistics")
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data = torch.rand(part.num_features, generator=draw) + 0.5
            part.bias.data = torch.randn(part.num_features, generator=draw)
            part.running_mean.copy_(torch.randn(part.num_features, generator=draw) * 0.3)
            part.running_var.copy_(torch.rand(part.num_features, generator=draw) + 0.5)
    return model.double().eval()


class Vgg(nn.Module):
    """Convolutions with a bias and BatchNorm, pooling between them, and a classifier of two layers on the flat map."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(True),
            nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(True), nn.MaxPool2d(2),
            nn.Conv2d(12, 10, 3, padding=1), nn.BatchNorm2d(10), nn.Sigmoid(), nn.AdaptiveAvgPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(40, 16), nn.ReLU(True), nn.Linear(16, 5))

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


class Mixed(nn.Module):
    """A depthwise convolution, a concatenation, a shared layer, and a convolution without BatchNorm."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_bn = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.wide, self.wide_bn = nn.Conv2d(8, 12, 1), nn.BatchNorm2d(12)
        self.deep, self.deep_bn = nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.BatchNorm2d(12)
        self.few, self.few_bn = nn.Conv2d(12, 6, 1), nn.BatchNorm2d(6)
        self.twice, self.twice_bn = nn.Conv2d(18, 18, 1), nn.BatchNorm2d(18)
        self.bare = nn.Conv2d(18, 4, 1)

    def forward(self, x):
        x = torch.relu(self.stem_bn(self.stem(x)))
        wide = torch.relu(self.wide_bn(self.wide(x)))
        few = self.few_bn(self.few(torch.relu(self.deep_bn(self.deep(wide)))))
        x = torch.cat([wide, few], dim=1)
        for _ in range(2):
            x = torch.relu(self.twice_bn(self.twice(x)))
        return self.bare(x).mean((2, 3))


def gunn(description):
    return build_encoder(f"gunn:{description}", n_classes=5, seed=0)


def resnet(shape):
    return ResNet(shape, 5, generator(0, "test net"))


NETS = {
    "gunn": lambda: gunn("cifar-6-12/3-3+4+6-10"),
    "gunn-imagenet": lambda: gunn("imagenet-6-8/2-2+6"),
    "resnet20": lambda: build_encoder("resnet20", n_classes=5, seed=0),
    "basic": lambda: resnet(Shape((2, 2), (8, 16))),
    "bottleneck": lambda: resnet(Shape((2, 1), (8, 12), block="bottleneck", stem=3)),
    "vgg": Vgg,
    "mixed": Mixed,
}


def net(kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return lived(NETS[kind]())


def images(n=3, side=16):
    return torch.randn(n, 3, side, side, dtype=torch.float64, generator=generator(0, "test images"))


def some_channels(graph, fraction=0.4, seed=0):
    """Random channel masks, one channel left at least."""
    draw = generator(seed, "test channels")
    found = {}
    for name, n in graph.channels.items():
        found[name] = torch.rand(n, generator=draw) > fraction
        found[name][int(torch.randint(n, (1,), generator=draw))] = True
    return found


def masked(model, mask):
    """A copy under a weight mask."""
    found = copy.deepcopy(model)
    own = dict(found.named_parameters())
    for name, array in mask.items():
        own[name].data[~torch.from_numpy(array.copy())] = 0.0
    return found
