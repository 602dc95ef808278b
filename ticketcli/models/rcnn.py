"""Faster and Mask R-CNN with a feature pyramid on any encoder: torchvision's parts, without its handling of images.

Sources: Ren et al., "Faster R-CNN", 2015; He et al., "Mask R-CNN", 2017; every number that is not named here is
torchvision's default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, paste_masks_in_image
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.transform import resize_boxes

from ticketcli.errors import CorruptError, UsageError
from ticketcli.models.cost import parameters
from ticketcli.models.encoder import Encoder
from ticketcli.models.fpn import Backbone, Level, levels_of
from ticketcli.models.freezing import frozen_in_words
from ticketcli.models.regions import Regions
from ticketcli.tensors.global_draws import global_draws
from ticketcli.tensors.modes import evaluating
from ticketcli.tensors.seeds import derive
from ticketcli.tensors.shown import Found, Objects, Shown

RATIOS = (0.5, 1.0, 2.0)  # height to width
_ANCHOR_TO_STRIDE = 8  # Detectron2's anchors of 32 to 512 pixels on strides of 4 to 64
_LEAST_ANCHOR = 2  # torchvision rounds half of a side to whole pixels
_PASTED_AT_ONCE = 8  # masks; each is as large as the image while it is still of floats


class Rcnn(nn.Module):
    """A detector on a backbone; its parameters have torchvision's names.

    Attributes:
        backbone: `body`, the encoder, and `fpn`.
        rpn: proposes boxes.
        roi_heads: classes, boxes and masks of proposals; `score_thresh` and `detections_per_img` bound what is found.
        anchors: sides of the square anchors in pixels, one a level.
    """

    def __init__(self, backbone: Backbone, rpn: RegionProposalNetwork, roi_heads: RoIHeads) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = backbone, rpn, roi_heads
        self.anchors: tuple[float, ...] = tuple(side for (side,) in rpn.anchor_generator.sizes)

    @property
    def masks(self) -> bool:
        """Whether it finds masks: Mask R-CNN, or else Faster R-CNN."""
        return bool(self.roi_heads.has_mask())

    def losses(self, shown: Shown, draw: int) -> dict[str, Tensor]:
        """The losses by torchvision's names, and their sum as `loss`. Crowds are no targets.

        Which anchors and proposals are looked at is drawn; with equal weights and images, equal draws give equal
        losses, and the global generators stay where they are. An image without objects is all background.

        Args:
            shown: the batch, on the network's device.
            draw: what the sampling follows from, such as the number of the step.

        Raises:
            CorruptError: a box has no area.
            UsageError: masks are wanted, and there are none.
        """
        targets = [self._target(objects, index) for objects, index in zip(shown.objects, shown.indices, strict=True)]
        self.rpn.training = self.roi_heads.training = True  # what they return; none of their parts has modes
        images = ImageList(shown.images, list(shown.sizes))
        with global_draws(derive(draw, "proposals"), shown.images.device):
            features = self.backbone(shown.images)
            proposals, of_proposals = self.rpn(images, features, targets)
            _, of_regions = self.roi_heads(features, proposals, images.image_sizes, targets)
        parts: dict[str, Tensor] = {**of_regions, **of_proposals}
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    @torch.no_grad()
    def find(self, shown: Shown, sizes: Sequence[tuple[int, int]] | None = None) -> list[Found]:
        """The objects on each image of the batch, in eval mode.

        Args:
            shown: the batch, on the network's device; what its objects are is not looked at.
            sizes: (h, w) for each image, that boxes and masks are given in; None: as shown.
        """
        images = ImageList(shown.images, list(shown.sizes))
        with evaluating(self):
            features = self.backbone(shown.images)
            proposals, _ = self.rpn(images, features)
            found, _ = self.roi_heads(features, proposals, images.image_sizes)
        pairs = zip(found, shown.sizes, sizes or shown.sizes, strict=True)
        return [_found(one, before, after) for one, before, after in pairs]

    def _target(self, objects: Objects, index: int) -> dict[str, Tensor]:
        """One image's objects as torchvision wants them; label 0 is the background there."""
        kept = ~objects.crowd
        boxes = objects.boxes[kept]
        if not bool((boxes[:, 2:] > boxes[:, :2]).all()):
            raise CorruptError("a box has no area", where=f"image {index}", hint="ticket data check says which")
        target = {"boxes": boxes, "labels": objects.labels[kept] + 1}
        if self.masks:
            if len(objects.masks) != len(kept):
                hint = "task: detection learns from boxes alone"
                raise UsageError("objects have no masks to learn from", where=f"image {index}", hint=hint)
            target["masks"] = objects.masks[kept]
        return target


def _found(one: dict[str, Tensor], before: tuple[int, int], after: tuple[int, int]) -> Found:
    """What torchvision found on one image, at the size wanted."""
    boxes = one["boxes"] if before == after else resize_boxes(one["boxes"], before, after)
    masks = None
    if "masks" in one:
        masks = torch.zeros(len(boxes), *after, dtype=torch.uint8, device=boxes.device)
        for start in range(0, len(boxes), _PASTED_AT_ONCE):
            these = slice(start, start + _PASTED_AT_ONCE)
            masks[these] = paste_masks_in_image(one["masks"][these], boxes[these], after)[:, 0] > 0.5
    return Found(boxes, one["labels"] - 1, one["scores"], masks)


def build_rcnn(
    encoder: Encoder,
    *,
    n_classes: int,
    masks: bool,
    channels: int = 256,
    anchors: tuple[float, ...] | None = None,
    image_size: int,
    seed: int,
    proposals: int = 2000,
    samples: int = 512,
) -> Rcnn:
    """Faster R-CNN, or Mask R-CNN, around an encoder.

    Args:
        encoder: becomes the detector's own, with the values that it has or is given later; its classifier is dropped.
        n_classes: kinds of objects, without the background.
        masks: Mask R-CNN.
        channels: of the pyramid, of the proposals' head and of the masks' head; the boxes' head is four times as wide.
        anchors: side in pixels of the square anchor of each level, the last of which is twice as coarse as the deepest
            tap; None: eight times the level's stride.
        image_size: that the encoder takes, in pixels a side; the images may have other sizes.
        seed: of all fresh values, drawn as torchvision draws them; the global generator is not touched.
        proposals: most that training keeps of a level, and then of an image; half as many where it does not train.
        samples: those of an image that the heads learn from. Most of the time goes into them.

    Raises:
        UsageError: the taps make no pyramid, or the anchors do not fit the levels.
    """
    levels = levels_of(encoder, image_size)
    sides = _anchor_sides(anchors, levels)
    strides = tuple(level.stride for level in levels)
    with global_draws(derive(seed, "rcnn"), torch.device("cpu")):
        backbone = Backbone(encoder, levels, channels)
        settings: dict[str, Any] = {
            **{f"rpn_{when}_nms_top_n_train": proposals for when in ("pre", "post")},
            **{f"rpn_{when}_nms_top_n_test": proposals // 2 for when in ("pre", "post")},
            "box_batch_size_per_image": samples,
            "rpn_anchor_generator": AnchorGenerator(tuple((side,) for side in sides), (RATIOS,) * len(sides)),
            "box_roi_pool": Regions(strides, 7),
            "box_head": TwoMLPHead(channels * 7 * 7, 4 * channels),
            "box_predictor": FastRCNNPredictor(4 * channels, n_classes + 1),
        }
        if masks:
            settings |= {
                "mask_roi_pool": Regions(strides, 14),
                "mask_head": MaskRCNNHeads(channels, (channels,) * 4, 1),
                "mask_predictor": MaskRCNNPredictor(channels, channels, n_classes + 1),
            }
        whole = (MaskRCNN if masks else FasterRCNN)(backbone, **settings)
    return Rcnn(backbone, whole.rpn, whole.roi_heads)


def _anchor_sides(anchors: tuple[float, ...] | None, levels: tuple[Level, ...]) -> tuple[float, ...]:
    strides = [*(level.stride for level in levels), 2 * levels[-1].stride]
    sides = anchors or tuple(float(_ANCHOR_TO_STRIDE * stride) for stride in strides)
    example = ", ".join(str(_ANCHOR_TO_STRIDE * stride) for stride in strides)
    if len(sides) != len(strides):
        raise UsageError(
            f"{len(sides)} anchors for {len(strides)} levels of strides {', '.join(map(str, strides))}",
            where="anchors",
            hint=f"one side in pixels for each level, such as [{example}]",
        )
    if min(sides) < _LEAST_ANCHOR:
        raise UsageError(f"an anchor of {min(sides):g} pixels", where="anchors", hint=f"from {_LEAST_ANCHOR} pixels on")
    return sides


class MeanAndStd(Protocol):
    """What images were normalised with, by channel, where black is 0 and white is 1."""

    @property
    def mean(self) -> tuple[float, ...]:
        """By channel."""

    @property
    def std(self) -> tuple[float, ...]:
        """By channel."""


def describe(rcnn: Rcnn, normalization: MeanAndStd) -> str:
    """A line for people: how images come in, where the network strides, its anchors, what is frozen, and its size."""
    body = rcnn.backbone.body
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (normalization.mean, normalization.std))
    sizes = {"backbone": body, "pyramid": rcnn.backbone.fpn, "proposals": rcnn.rpn, "heads": rcnn.roi_heads}
    counts = ", ".join(f"{name} {parameters(part):,}" for name, part in sizes.items())
    return (
        f"{'Mask' if rcnn.masks else 'Faster'} R-CNN: images RGB, mean {mean}, std {std}; {body.striding}; "
        f"levels of stride {', '.join(map(str, rcnn.backbone.strides))} "
        f"with anchors of {', '.join(f'{side:g}' for side in rcnn.anchors)} pixels; "
        f"frozen: {frozen_in_words(body)}; weights: {counts}"
    )
