"""`digits`: 1,797 real handwritten digits that come inside scikit-learn, resized to 32 pixels.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part).
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from ticketcli.data.images import ImageSet, Normalization
from ticketcli.data.sources import Wanted
from ticketcli.data.splitting import Whole
from ticketcli.tensors.seeds import derive, permutation

_SIZE = 32
_SHARES = (0.60, 0.75)  # training ends, validation ends; the rest is for testing
NORMALIZATION = Normalization((0.3054,) * 3, (0.3232,) * 3)  # of all training images, so that narrowed sets agree


def load_digits(_wanted: Wanted) -> Whole:
    """Train 60 %, validation 15 %, test 25 % of each class, by a split that never changes."""
    from sklearn.datasets import load_digits as load  # half a second, so only when wanted

    bunch = load()
    grey = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16  # [N, 1, 8, 8] in [0, 1]
    large = F.interpolate(grey, size=(_SIZE, _SIZE), mode="bilinear", align_corners=False)
    images = (large * 255).round().to(torch.uint8).permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous()
    labels = torch.from_numpy(bunch.target).to(torch.int64)
    everything = ImageSet(images, labels, tuple(str(number) for number in range(10)))
    parts: list[list[np.ndarray]] = [[], [], []]
    for label in range(10):
        members = np.flatnonzero(bunch.target == label)
        members = members[permutation(derive(0, "digits/split", label), len(members))]
        ends = [round(share * len(members)) for share in _SHARES]
        for part, chosen in zip(parts, np.split(members, ends), strict=True):
            part.append(chosen)
    train, validation, test = (everything.take(torch.from_numpy(np.sort(np.concatenate(part)))) for part in parts)
    return Whole(train, test, NORMALIZATION, validation)
