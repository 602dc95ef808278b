"""The same measurement by pycocotools."""

import contextlib
import copy
import io
import math

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

STATS = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip


def none(value):
    return None if value == -1 or math.isnan(value) else float(value)


def oracle(pictures, names, ids, results, kind):
    truth, found = COCO(), COCO()
    entries = [
        {key: value for key, value in entry.items() if key != ("bbox" if kind == "segm" else "segmentation")}
        for entry in copy.deepcopy(results)
    ]
    content = {
        "images": [{"id": one.id, "height": one.height, "width": one.width} for one in pictures],
        "categories": [{"id": number, "name": name} for number, name in zip(ids, names, strict=True)],
    }
    objects = [(picture, instance) for picture in pictures for instance in picture.instances]
    annotations = [
        {
            "id": number, "image_id": picture.id, "category_id": ids[one.label], "bbox": list(one.box),
            "area": one.area, "iscrowd": int(one.crowd), "segmentation": copy.deepcopy(one.segmentation),
        }
        for number, (picture, one) in enumerate(objects, start=1)
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth.dataset = content | {"annotations": annotations}
        truth.createIndex()
        if entries:
            found = truth.loadRes(entries)
        else:  # pycocotools looks at the first entry without asking whether there is one
            found.dataset = content | {"annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    measures = {name: none(value) for name, value in zip(STATS, evaluation.stats, strict=True)}
    classes = {}
    for k, number in enumerate(sorted(ids)):
        curve = evaluation.eval["precision"][:, :, k, 0, 2]
        classes[names[ids.index(number)]] = none(np.mean(curve[curve > -1])) if (curve > -1).any() else None
    return measures | {"classes": classes}
