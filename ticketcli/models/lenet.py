"""LeNet-300-100 and Caffe's LeNet-5: the small nets on grey digits that pruning is measured by.

Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998; LeNet-5 in the widths of Caffe's
`lenet.prototxt`, which papers on pruning mean by that name. Layers are called as their tables call them.
"""

from __future__ import annotations

import torch
import torch.fx
from torch import Tensor, nn

from ticketcli.errors import UsageError
from ticketcli.models.encoder import Encoder
from ticketcli.models.resnet import initialise

SIDE = 28  # pixels a side that both nets look at


def grey_middle(x: Tensor) -> Tensor:
    """Images [N, 3, H, W] -> [N, 1, 28, 28]: the mean of the channels, and of the pixels the middle ones.

    The three channels of a grey image are equal, so their mean is the image; colours are lost. The margin that is left
    out is what the image sets of digits and clothes have padded around their 28 pixels.

    Raises:
        UsageError: the images are smaller than that.
    """
    top, left = (x.shape[2] - SIDE) // 2, (x.shape[3] - SIDE) // 2
    if top < 0 or left < 0:
        raise UsageError(
            f"a LeNet looks at {SIDE} pixels a side, and these images have {min(x.shape[2:])}", where="image_size",
            hint="leave image_size out: 32 is for all image sets",
        )  # fmt: skip
    return x[:, :, top : top + SIDE, left : left + SIDE].mean(dim=1, keepdim=True)


torch.fx.wrap("grey_middle")  # one node of a traced graph: what it does depends on the images' size
grey_middle.gain = 3**-0.5  # type: ignore[attr-defined]  # for bounds of errors: by so much its result is shorter, at least
grey_middle.is_affine = True  # type: ignore[attr-defined]  # for gates


class LeNet300(Encoder):
    """784, 300, 100 and `n_classes` units, fully connected: 266,610 parameters with 10 classes.

    It has no maps, and so no taps: what reads taps refuses it.

    Args:
        n_classes: outputs of the head `fc3`.
        draw: source of all initial values; the global generator is not touched.
    """

    tap_names = ()
    depths = ()
    block_kind = "basic"
    stem_names = ()  # no convolution sees the image; fc1 is nine tenths of the net
    head_names = ("fc3",)

    @torch.random.fork_rng(devices=[])  # torch's own first draw, which `initialise` replaces, stays in here
    def __init__(self, n_classes: int, draw: torch.Generator) -> None:
        super().__init__()
        self.fc1 = nn.Linear(SIDE * SIDE, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, n_classes)
        initialise(self, draw)

    def taps_and_logits(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Images [N, 3, H, W] -> no taps, and logits [N, n_classes]."""
        x = grey_middle(x).flatten(1)
        x = torch.relu(self.fc2(torch.relu(self.fc1(x))))
        logits: Tensor = self.fc3(x)
        return {}, logits

    @torch.random.fork_rng(devices=[])
    def new_head(self, n_classes: int, draw: torch.Generator) -> None:
        """Replace `fc3` by a fresh one of `n_classes`."""
        self.fc3 = nn.Linear(self.fc3.in_features, n_classes)
        initialise(self.fc3, draw)


class LeNet5(Encoder):
    """Two 5x5 convolutions of 20 and 50 channels, each max-pooled, then 500 units: 431,080 parameters with 10 classes.

    Its taps are the pooled maps after ReLU, of 12 and 4 pixels a side. Deviation: Caffe's own has a ReLU behind `fc1`
    alone; here, as in all that is written about layer-wise errors, one stands behind every layer but the last.

    Args:
        n_classes: outputs of the head `fc2`.
        draw: source of all initial values; the global generator is not touched.
    """

    tap_names = ("pool1", "pool2")
    depths = (1, 1)
    block_kind = "basic"
    stem_names = ("conv1",)
    head_names = ("fc2",)

    @torch.random.fork_rng(devices=[])
    def __init__(self, n_classes: int, draw: torch.Generator) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(50 * 4 * 4, 500)
        self.fc2 = nn.Linear(500, n_classes)
        initialise(self, draw)

    def taps_and_logits(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Images [N, 3, H, W] -> taps [N, 20, 12, 12] and [N, 50, 4, 4], and logits [N, n_classes]."""
        first = torch.relu(self.pool1(self.conv1(grey_middle(x))))  # of a maximum, as good as the maximum of ReLUs
        second = torch.relu(self.pool2(self.conv2(first)))
        x = torch.relu(self.fc1(second.flatten(1)))
        logits: Tensor = self.fc2(x)
        return {"pool1": first, "pool2": second}, logits

    @torch.random.fork_rng(devices=[])
    def new_head(self, n_classes: int, draw: torch.Generator) -> None:
        """Replace `fc2` by a fresh one of `n_classes`."""
        self.fc2 = nn.Linear(self.fc2.in_features, n_classes)
        initialise(self.fc2, draw)
