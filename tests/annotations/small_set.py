"""A small good set in COCO's format, and the same with something wrong."""

import copy
import json
from pathlib import Path

from tests.data.files import noise, save

SIZES = {7: (40, 60), 3: (33, 50), 12: (64, 41)}  # image id -> height, width
BLOCK = [160, 10, 30, 10, 2190]  # on 40 x 60: ten pixels of the columns 4 and 5 each


def document():
    """Three images (one empty), categories with gaps, and every kind of outline."""
    images = [
        {"id": number, "file_name": f"{number:03d}.png", "height": height, "width": width, "license": 4}
        for number, (height, width) in SIZES.items()
    ]
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 90, "bbox": [5, 6, 10.5, 8], "area": 50.5, "iscrowd": 0,
         "segmentation": [[5, 6, 15, 6, 15, 14], [5, 6, 8.5, 6, 8, 14, 5, 14]]},
        {"id": 2, "image_id": 3, "category_id": 2, "bbox": [0, 0, 50, 33], "area": 1650, "iscrowd": 1,
         "segmentation": {"size": [33, 50], "counts": [0, 1650]}},
        {"id": 5, "image_id": 7, "category_id": 2, "bbox": [4, 0, 2, 10],
         "segmentation": {"size": [40, 60], "counts": BLOCK}},
        {"id": 4, "image_id": 7, "category_id": 13, "bbox": [1, 1, 3, 4], "iscrowd": 0, "segmentation": []},
        {"id": 9, "image_id": 3, "category_id": 13, "bbox": [1, 1, 3, 4], "area": 12,
         "segmentation": {"size": [33, 50], "counts": "R14m0000]_1"}},
    ]  # fmt: skip
    categories = [{"id": 90, "name": "brush"}, {"id": 2, "name": "cup"}, {"id": 13, "name": "sign", "more": 1}]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def changed(*path, to):
    """The document with the value at a path replaced, or taken out where `to` is the ellipsis."""
    found = copy.deepcopy(document())
    *way, last = path
    place = found
    for key in way:
        place = place[key]
    if to is ...:
        del place[last]
    else:
        place[last] = to
    return found


def write(root: Path, content, name="instances_train.json", images=True) -> Path:
    """The set as files; the path of its annotations."""
    root.mkdir(parents=True, exist_ok=True)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(content if isinstance(content, str) else json.dumps(content))
    if images:
        for number, (height, width) in SIZES.items():
            save(root / "images" / f"{number:03d}.png", noise(height, width, number))
    return root / name
