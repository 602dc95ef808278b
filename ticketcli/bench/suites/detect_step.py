"""A training step of Mask R-CNN: ours, data and all, and torchvision's reference loop on the same images in memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.data.sets import load_splits
from ticketcli.models.architectures import build_encoder
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.tasks.table import TASKS
from ticketcli.training.loop import Feed, build_optimizer, train
from ticketcli.training.loop import Run as Training
from ticketcli.training.replicas import Loss
from ticketcli.units import Duration

_NEVER_SLOWER = Goal("cost", 1.01)
_LR = 1e-9  # both stay in the state they start from, so that every turn finds the same proposals
_BATCHES = 8


@dataclass(frozen=True)
class _Size:
    arch: str
    side: int
    batch: int
    channels: int
    proposals: int
    samples: int
    steps: int


_ON_A_GPU = (_Size("resnet50", 800, 2, 256, 2000, 512, 4),)  # of the paper, but for images of one size
_SIZES = (_Size("resnet_small", 64, 8, 32, 256, 64, 12), _Size("resnet18", 128, 4, 64, 256, 64, 6))


def run(job: BenchJob) -> Iterator[Row]:
    """A small net, where what is no convolution shows, and ResNet-18."""
    sizes = _ON_A_GPU if job.device.type == "cuda" else _SIZES
    for size in sizes if job.full else _SIZES[:1]:
        pair = _Pair(size, job.sized(size.steps, at_least=2), job.device)
        yield job.compare(
            f"{pair.steps} steps of Mask R-CNN, {size.arch}, batch {size.batch}, {size.side} px", pair.ours,
            "torchvision's reference loop", pair.theirs, equality=pair.agree, goal=_NEVER_SLOWER,
            note="theirs has its images and targets ready in memory; ours makes them anew",
        )  # fmt: skip


class _Pair:
    """The same values in both detectors, and the same batches."""

    def __init__(self, size: _Size, steps: int, device: torch.device) -> None:
        self.steps = steps
        splits = load_splits("scenes")
        settings: dict[str, Any] = {
            "data": "scenes", "task": "segmentation", "schedule": "tiny", "short_sides": [size.side],
            "batch": size.batch, "channels": size.channels, "proposals": size.proposals, "samples": size.samples,
            "clip": None, "freeze": "none", "batchnorm": "train",
        }  # fmt: skip
        config = TransferConfig.parse(settings, where="bench").model_copy(update={"lr": _LR, "clip": None})
        task = TASKS["segmentation"]
        head = task.head(config, splits, size.side)
        self.model = task.build(build_encoder(size.arch, n_classes=10, seed=0), head, seed=0).to(device)
        self.feed: Feed = task.feed(config, splits, head, device)
        self.loss: Loss = task.loss(self.model, head)
        self.config = config
        self.other = _reference(self.model, size, splits.normalization.mean, splits.normalization.std, device)
        self.batches = [self._as_theirs(self.feed.at(0, step)[0], splits.normalization) for step in range(_BATCHES)]
        self.optimizer = build_optimizer(config, [one for one in self.other.parameters() if one.requires_grad])
        self.other.train()

    @staticmethod
    def _as_theirs(shown: Any, normalization: Any) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        """Images in [0, 1], and targets as their collation gives them; class 0 is the background."""
        pixels = normalization.denormalize(shown.images).clamp(0, 1)
        targets = [{"boxes": one.boxes, "labels": one.labels + 1, "masks": one.masks} for one in shown.objects]
        return [image.clone() for image in pixels], targets

    def ours(self) -> None:
        """Feed, forward, backward, optimiser, as `transfer` does it."""
        run = Training("bench", self.model, self.loss, self.feed, self.config, Duration(self.steps, "it"), {})
        for _ in train(run):
            pass

    def theirs(self) -> None:
        """Torchvision's references/detection/engine.py: the sum of the losses, read out each step."""
        for step in range(self.steps):
            losses = sum(self.other(*self.batches[step % _BATCHES]).values())
            losses.item()
            self.optimizer.zero_grad()
            losses.backward()
            self.optimizer.step()

    def agree(self) -> Equality:
        """The backbone, which is most of the work, gives the same features; losses draw other samples."""
        images = self.feed.at(0, 0)[0].images
        with torch.no_grad():
            mine, other = self.model.backbone(images), self.other.backbone(images)  # type: ignore[operator]
        apart = max(float((mine[name] - other[name]).abs().max()) for name in other)
        weights = self.model.state_dict(), self.other.state_dict()
        equal = apart == 0 and all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
        return same("weights and features", equal, f"{len(weights[1])} tensors")


def _reference(model: nn.Module, size: _Size, mean: Any, std: Any, device: torch.device) -> MaskRCNN:
    """Torchvision's own Mask R-CNN around a copy of our backbone, with our values."""
    anchors: Any = model.anchors
    names = [str(level) for level in range(len(anchors) - 1)]
    channels, n_out = size.channels, 11
    other = MaskRCNN(
        copy.deepcopy(model.backbone), min_size=size.side, max_size=1333, image_mean=list(mean), image_std=list(std),
        rpn_pre_nms_top_n_train=size.proposals, rpn_post_nms_top_n_train=size.proposals,
        box_batch_size_per_image=size.samples,
        rpn_anchor_generator=AnchorGenerator(tuple((one,) for one in anchors), ((0.5, 1.0, 2.0),) * len(anchors)),
        box_roi_pool=MultiScaleRoIAlign(names, 7, 2), box_head=TwoMLPHead(channels * 49, 4 * channels),
        box_predictor=FastRCNNPredictor(4 * channels, n_out), mask_roi_pool=MultiScaleRoIAlign(names, 14, 2),
        mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, n_out),
    ).to(device)  # fmt: skip
    with torch.no_grad():
        levels = list(other.backbone(torch.zeros(1, 3, size.side, size.side, device=device)))[:-1]
    other.roi_heads.box_roi_pool.featmap_names = levels
    other.roi_heads.mask_roi_pool.featmap_names = levels
    other.load_state_dict(model.state_dict(), strict=True)
    return other
