"""Rectangles of two colours on black, and a network that tells the colours apart by looking at each pixel alone."""

import numpy as np
import torch
from torch import nn

from tests.data.files import save
from tests.data.outlined import assembled, instance
from ticketcli.annotations.pictures import Picture
from ticketcli.data.images import Normalization
from ticketcli.stages.sought import Sought

COLOURS = np.array([(230, 0, 0), (0, 230, 0)], dtype=np.uint8)
NAMES = ("red", "green")
PLAIN = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def rectangle(height, width, box):
    mask = np.zeros((height, width), dtype=bool)
    x0, y0, x1, y1 = box
    mask[y0:y1, x0:x1] = True
    return mask


def coloured(root, *pictures, size=(40, 48), crowds=()):
    """A set of files; a picture is a list of (label, (x0, y0, x1, y1)), the label 0 or 1; `crowds` are (picture, place)."""
    found = []
    for number, objects in enumerate(pictures):
        image = np.zeros((*size, 3), dtype=np.uint8)
        instances = []
        for place, (label, box) in enumerate(objects):
            mask = rectangle(*size, box)
            image[mask] = COLOURS[label]
            instances.append(instance(10 * number + place, mask, label, crowd=(number, place) in crowds))
        save(root / f"{number}.png", image)
        found.append(Picture(number, f"{number}.png", *size, tuple(instances)))
    return assembled(root, found)


def colour_network(seen=(1.0, 1.0)):
    """Logits are the shares of red and of green pixels; `seen` less than 1 makes it blind for a colour by as much."""
    convolution, linear = nn.Conv2d(3, 2, 1), nn.Linear(2, 2)
    network = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]).view(2, 3, 1, 1))
        convolution.bias.fill_(-0.1)
        linear.weight.copy_(torch.diag(torch.tensor(seen)))
        linear.bias.zero_()
    return network.eval()


def wanted(*parts, side=40, labels=None):
    """What `sought` makes of sets of such files, for that network."""
    return Sought(parts, labels or {0: 0, 1: 1}, NAMES, PLAIN, side, masks=True)
