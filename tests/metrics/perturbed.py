"""Annotation files, and detections made of their truth: moved, dropped, doubled, called something else."""

import json

import numpy as np
import torch
from hotcoco.mask import decode, fr_py_objects, merge

from ticketcli.annotations.pictures import Instance, Picture
from ticketcli.tensors.shown import Found


def read(path):
    """A COCO file of outlines of any kind: pictures, class names, category ids."""
    content = json.loads(path.read_text())
    ids = [category["id"] for category in content["categories"]]
    names = [category["name"] for category in content["categories"]]
    objects = {}
    for one in content["annotations"]:
        instance = Instance(
            one["id"], ids.index(one["category_id"]), tuple(one["bbox"]), one["segmentation"], one["area"], bool(one["iscrowd"])
        )  # fmt: skip
        objects.setdefault(one["image_id"], []).append(instance)
    pictures = [
        Picture(image["id"], image["file_name"], image["height"], image["width"], tuple(objects.get(image["id"], ())))
        for image in content["images"]
    ]
    return pictures, names, ids


def pixels(segmentation, picture):
    """An outline of any kind as ones on zeros, [H, W]."""
    if isinstance(segmentation, list):
        return decode(merge(fr_py_objects(segmentation, picture.height, picture.width)))
    return decode(segmentation)


def perturbed(picture, n_classes, seed, *, shift=0.15, dropped=0.2, doubled=0.2, mistaken=0.1, levels=None):
    """Detections like a mediocre network's; `levels` rounds the scores, so that many tie. Repeatable."""
    draw = np.random.default_rng([seed, picture.id])
    boxes, labels, scores, masks = [], [], [], []
    for instance in picture.instances:
        copies = 0 if draw.random() < dropped else 1 + int(draw.random() < doubled)
        for _ in range(copies):
            x, y, width, height = instance.box
            error = abs(draw.normal(0, shift)) * draw.integers(0, 2)
            dx, dy = draw.normal(0, 1, 2) * error * (width, height)
            wider, higher = np.exp(draw.normal(0, error, 2))
            boxes.append([x + dx, y + dy, x + dx + width * wider, y + dy + height * higher])
            labels.append(int(draw.integers(n_classes)) if draw.random() < mistaken else instance.label)
            score = draw.random() if instance.crowd else 1 - draw.random() * min(1, 0.4 + 3 * error)
            scores.append(round(score * levels) / levels if levels else score)
            mask = pixels(instance.segmentation, picture)
            masks.append(np.roll(mask, (round(dy), round(dx)), (0, 1)))
    order = np.argsort([-score for score in scores], kind="stable").astype(int)
    shape = (len(order), picture.height, picture.width)
    stacked = np.stack([masks[place] for place in order]) if masks else np.zeros(shape, np.uint8)
    return Found(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)[order],
        labels=torch.tensor(labels, dtype=torch.int64)[order],
        scores=torch.tensor(scores, dtype=torch.float32)[order],
        masks=torch.from_numpy(stacked),
    )
