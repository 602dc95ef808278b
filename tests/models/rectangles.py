"""Batches of noise with bright rectangles on it, which are the objects: red is class 0, green 1, blue 2."""

import torch

from ticketcli.tensors.shown import Objects, Shown


def rectangles(sizes, *, side=64, n_objects=2, n_classes=2, masks=True, crowd=(), seed=0):
    """A batch of images of these (h, w), padded to a square; `crowd` are (image, object) that nobody told apart."""
    draw = torch.Generator().manual_seed(seed)
    images, objects = torch.zeros(len(sizes), 3, side, side), []
    for place, (h, w) in enumerate(sizes):
        images[place, :, :h, :w] = 0.1 * torch.randn(3, h, w, generator=draw)
        boxes, labels, bitmaps = [], [], torch.zeros(n_objects, h, w, dtype=torch.uint8)
        for k in range(n_objects):
            high, wide = (int(torch.randint(limit // 4, limit // 2 + 1, (1,), generator=draw)) for limit in (h, w))
            y, x = (int(torch.randint(0, limit + 1, (1,), generator=draw)) for limit in (h - high, w - wide))
            labels.append(int(torch.randint(0, n_classes, (1,), generator=draw)))
            boxes.append([x, y, x + wide, y + high])
            bitmaps[k, y : y + high, x : x + wide] = 1
            images[place, labels[-1], y : y + high, x : x + wide] += 2.0
        objects.append(
            Objects(
                torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                torch.tensor(labels, dtype=torch.int64),
                bitmaps if masks else bitmaps[:0],
                torch.tensor([(place, k) in crowd for k in range(n_objects)], dtype=torch.bool),
            )
        )
    return Shown(images, tuple(sizes), tuple(objects), tuple(range(len(sizes))))
