"""Pictures and detections made by hand: boxes x, y, width, height with masks that fill them."""

import numpy as np
import torch

from ticketcli.annotations.pictures import Instance, Picture
from ticketcli.data.outlines import run_lengths
from ticketcli.tensors.shown import Found


def filled(box, height, width):
    mask = np.zeros((height, width), dtype=np.uint8)
    x, y, wide, high = (round(side) for side in box)
    mask[y : y + high, x : x + wide] = 1
    return mask


def there(*objects, number=1, size=(32, 32)):
    """A picture of `objects`: (box, label) or (box, label, "crowd")."""
    instances = [
        Instance(place, label, box, run_lengths(filled(box, *size).astype(bool)), box[2] * box[3], bool(crowd))
        for place, (box, label, *crowd) in enumerate(objects, 1)
    ]
    return Picture(number, "", *size, tuple(instances))


def seen(*objects, size=(32, 32), masks=True):
    """Detections: (box, label, score)."""
    boxes = [[x, y, x + width, y + height] for (x, y, width, height), *_ in objects]
    stacked = np.stack([filled(box, *size) for box, *_ in objects]) if objects else np.zeros((0, *size), np.uint8)
    return Found(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([label for _, label, _ in objects], dtype=torch.int64),
        scores=torch.tensor([score for *_, score in objects], dtype=torch.float32),
        masks=torch.from_numpy(stacked) if masks else None,
    )
