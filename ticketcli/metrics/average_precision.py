"""Average precision of boxes and masks, as COCO defines it: the numbers of pycocotools, without its waiting.

Source: the evaluation of COCO (cocodataset.org, "Detection Evaluation"): ten overlaps from 0.50 to 0.95, 101 recalls,
100 detections an image and class, objects below 32 x 32 pixels small, from 96 x 96 large, crowd regions ignored.
Computed by hotcoco (extra `coco`). As Detectron2 does, and unlike pycocotools on a file that holds boxes beside masks,
the size of a found mask is its own area and not that of its box: it decides what counts as small, medium and large.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ticketcli.annotations.pictures import Instance, Picture
from ticketcli.errors import DivergedError, InputMissing, MismatchError, UsageError
from ticketcli.tensors.shown import Found

Kind = Literal["bbox", "segm"]
Result = dict[str, Any]
NAMES = {"bbox": "box", "segm": "mask"}
_AP50, _AP75 = 0, 5  # places among the overlaps .50, .55, ... .95
_SIZES = {"": 0, "_small": 1, "_medium": 2, "_large": 3}  # places among the areas
_LIMITS = {1: 0, 10: 1, 100: 2}  # places among the greatest numbers of detections an image and class


def require_coco() -> Any:
    """The package hotcoco, loaded only where it is needed; to be called before hours of training, not after them.

    Raises:
        InputMissing: it is not installed.
    """
    try:
        import hotcoco
        import hotcoco.mask
    except ImportError as error:
        raise InputMissing(
            f"average precision needs hotcoco: {error}", where="coco", hint="pip install 'ticketcli[coco]'"
        ) from None
    return hotcoco


def results_of(picture: Picture, found: Found, category_ids: Sequence[int]) -> list[Result]:
    """What was found on one image as entries of a COCO results file, in the order found; nothing is rounded.

    Args:
        picture: whose id the entries carry.
        found: in pixels of the original image.
        category_ids: by label, the file's number of the class.

    Returns:
        Entries of image_id, category_id, bbox (x, y, width, height), score and, where there are masks, segmentation:
        run lengths packed into a string.

    Raises:
        DivergedError: a box or a score is not finite.
        MismatchError: a label without a category, or masks of another size than the image.
    """
    where = f"image {picture.id}"
    boxes, scores = found.boxes.double().cpu().numpy(), found.scores.double().cpu().numpy()
    labels = found.labels.cpu().tolist()
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise DivergedError("the detector's boxes or scores are not finite", where=where)
    if labels and not 0 <= min(labels) <= max(labels) < len(category_ids):
        raise MismatchError(
            f"labels {min(labels)} to {max(labels)} were found, but there are {len(category_ids)} classes", where=where
        )
    entries: list[Result] = [
        {
            "image_id": picture.id,
            "category_id": int(category_ids[label]),
            "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
            "score": float(score),
        }
        for label, (x0, y0, x1, y1), score in zip(labels, boxes, scores, strict=True)
    ]
    if found.masks is not None:
        masks = found.masks.cpu().numpy()
        if masks.shape != (len(entries), picture.height, picture.width):
            wanted = (len(entries), picture.height, picture.width)
            raise MismatchError(f"masks of shape {masks.shape}, wanted {wanted}", where=where)
        for entry, mask in zip(entries, masks, strict=True):
            entry["segmentation"] = _packed(mask)
    return entries


def _packed(mask: NDArray[np.uint8]) -> dict[str, Any]:
    packed = require_coco().mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": packed["counts"].decode("ascii")}


def average_precision(
    pictures: Sequence[Picture],
    class_names: Sequence[str],
    category_ids: Sequence[int],
    results: Sequence[Result],
    kinds: Sequence[Kind] = ("bbox", "segm"),
) -> dict[str, dict[str, Any]]:
    """Average precision and recall over pictures; those without detections count, too.

    Args:
        pictures: all images that the detector was shown, with what is on them.
        class_names: by label.
        category_ids: by label, what `results` calls the class.
        results: entries as `results_of` makes them or a COCO results file holds them; scores may tie: then the image
            with the lower id goes first, and within an image the entry that comes first.
        kinds: "bbox" for boxes, "segm" for masks.

    Returns:
        "box" and, or, "mask", each with ap, ap50, ap75; ap_small, ap_medium, ap_large; ar1, ar10, ar100 (recall with
        so many detections an image and class), ar_small, ar_medium, ar_large; classes: name -> ap. Shares in [0, 1];
        None where there is no such object: classes without truth do not enter a mean.

    Raises:
        InputMissing: hotcoco is not installed.
        MismatchError: results name an image or a category that is not among the given.
        UsageError: masks are wanted, and objects or results have none.
    """
    hotcoco = require_coco()
    _require_known(results, {picture.id for picture in pictures}, set(category_ids))
    truth = hotcoco.COCO(_truth(pictures, class_names, category_ids, masks="segm" in kinds))
    names = dict(zip(category_ids, _told_apart(class_names, category_ids), strict=True))
    by_id = [names[category] for category in sorted(names)]
    return {NAMES[kind]: _measures(*_curves(hotcoco, truth, results, kind), by_id) for kind in kinds}


def _curves(
    hotcoco: Any, truth: Any, results: Sequence[Result], kind: Kind
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision [overlaps, recalls, classes, areas, limits] and recall, without recalls; -1 where there is no truth."""
    dropped = "segmentation" if kind == "bbox" else "bbox"
    if kind == "segm" and not all(entry.get("segmentation") for entry in results):
        raise UsageError("mask AP was asked for, but the results have no masks", hint="evaluate boxes alone")
    found = truth.load_res([{key: entry[key] for key in entry if key != dropped} for entry in results])
    evaluation = hotcoco.COCOeval(truth, found, kind)
    evaluation.evaluate()
    evaluation.accumulate()
    curves = evaluation.eval
    return np.asarray(curves["precision"]), np.asarray(curves["recall"])


def _measures(
    precision: NDArray[np.float64], recall: NDArray[np.float64], names: Sequence[str]
) -> dict[str, float | dict[str, float | None] | None]:
    most = _LIMITS[100]
    found: dict[str, Any] = {
        "ap": _mean(precision[..., 0, most]),
        "ap50": _mean(precision[_AP50, ..., 0, most]),
        "ap75": _mean(precision[_AP75, ..., 0, most]),
    }
    found |= {f"ap{size}": _mean(precision[..., place, most]) for size, place in _SIZES.items() if size}
    found |= {f"ar{limit}": _mean(recall[..., 0, place]) for limit, place in _LIMITS.items()}
    found |= {f"ar{size}": _mean(recall[..., place, most]) for size, place in _SIZES.items() if size}
    return found | {"classes": {name: _mean(precision[:, :, k, 0, most]) for k, name in enumerate(names)}}


def _mean(values: NDArray[np.float64]) -> float | None:
    """Over what there is truth for; None where that is nothing."""
    there = values[values > -1]
    return float(np.mean(there)) if there.size else None


def _truth(
    pictures: Sequence[Picture], class_names: Sequence[str], category_ids: Sequence[int], *, masks: bool
) -> dict[str, Any]:
    """Pictures as a COCO file in memory; objects are numbered anew, from 1: pycocotools takes 0 for no match."""
    objects = [(picture, instance) for picture in pictures for instance in picture.instances]
    if masks:
        _require_masks(objects)
    annotations = [
        {
            "id": number,
            "image_id": picture.id,
            "category_id": int(category_ids[instance.label]),
            "bbox": [float(side) for side in instance.box],
            "area": float(instance.area),
            "iscrowd": int(instance.crowd),
            **({"segmentation": instance.segmentation} if masks else {}),
        }
        for number, (picture, instance) in enumerate(objects, start=1)
    ]
    return {
        "images": [{"id": one.id, "height": one.height, "width": one.width} for one in pictures],
        "categories": [
            {"id": int(category), "name": name} for category, name in zip(category_ids, class_names, strict=True)
        ],
        "annotations": annotations,
    }


def _require_masks(objects: Iterable[tuple[Picture, Instance]]) -> None:
    bare = [(picture.id, instance.id) for picture, instance in objects if not instance.segmentation]
    if bare:
        raise UsageError(
            f"mask AP was asked for, but {len(bare)} objects have no outline",
            where="image {}, object {}".format(*bare[0]),
            hint="task detection, which needs boxes alone, or a file with a segmentation for every object",
        )


def _require_known(results: Sequence[Mapping[str, Any]], images: set[int], categories: set[int]) -> None:
    for name, known in (("image_id", images), ("category_id", categories)):
        unknown = sorted({entry[name] for entry in results} - known)
        if unknown:
            raise MismatchError(
                f"results name {len(unknown)} {name}s that the annotations do not have", where=f"{name} {unknown[0]}"
            )


def _told_apart(names: Sequence[str], category_ids: Sequence[int]) -> list[str]:
    """Names as keys: with the number behind them where two classes share one."""
    counts = Counter(names)
    return [
        f"{name} ({number})" if counts[name] > 1 else name for name, number in zip(names, category_ids, strict=True)
    ]
