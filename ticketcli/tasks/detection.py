"""Boxes, and with masks instances: Faster and Mask R-CNN on the backbone."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ticketcli.data.images import Images, Normalization, Splits
from ticketcli.data.instances import InstanceSet, Shown
from ticketcli.errors import UsageError
from ticketcli.events import Pause
from ticketcli.metrics.average_precision import Kind, average_precision, require_coco, results_of
from ticketcli.models.encoder import Encoder
from ticketcli.models.rcnn import Rcnn, build_rcnn, describe
from ticketcli.overlays.detection import detection_row, legend
from ticketcli.overlays.matching import match
from ticketcli.overlays.sheet import Entry, Row
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.tasks.pixels import PixelFeed, has_maps, objects_of, require_outlines, test_side, tested
from ticketcli.tasks.task import Head, Judgement
from ticketcli.tensors.modes import evaluating
from ticketcli.tensors.turns import in_turns
from ticketcli.training.loop import Feed
from ticketcli.training.replicas import Loss


@dataclass(frozen=True)
class Detection:
    """Boxes, or boxes and masks; `models.rcnn` says after whom."""

    masks: bool
    prefix = "backbone.body."
    test_batch = 8

    def check(self, splits: Splits) -> None:
        """Refuse images without outlined objects; and to begin what could not be measured in the end."""
        images = objects_of(splits)
        if has_maps(images) or not any(picture.instances for picture in images.pictures):
            hint = "task: semantic learns from label images"
            raise UsageError("there are no objects on these images", where="transfer.data", hint=hint)
        if self.masks:
            require_outlines(splits, hint="task: detection learns from boxes alone")
        require_coco()

    def class_names(self, splits: Splits, regions: str) -> tuple[str, ...]:
        """The categories."""
        return objects_of(splits).class_names

    def head(self, config: TransferConfig, splits: Splits, source_size: int) -> Head:
        """A class for each category."""
        images = objects_of(splits)
        side = test_side(config, images)
        return Head(
            self.class_names(splits, ""), side, config.long_side, config.channels, config.anchors, config.proposals,
            config.samples,
        )  # fmt: skip

    def build(self, encoder: Encoder, head: Head, *, seed: int) -> nn.Module:
        """The encoder under a feature pyramid, proposals and heads of regions."""
        return build_rcnn(
            encoder, n_classes=len(head.class_names), masks=self.masks, channels=head.channels, anchors=head.anchors,
            proposals=head.proposals, samples=head.samples, image_size=head.side, seed=seed,
        )  # fmt: skip

    def describe(self, model: nn.Module, normalization: Normalization) -> str:
        """For people."""
        return describe(cast(Rcnn, model), normalization)

    def feed(self, config: TransferConfig, splits: Splits, head: Head, device: torch.device) -> Feed:
        """Images, mirrored at random; those without an object that can be learnt are left out, as in Detectron2."""
        images = objects_of(splits)
        useful = [k for k, one in enumerate(images.pictures) if any(not inst.crowd for inst in one.instances)]
        return PixelFeed(config, images.take(torch.tensor(useful)), splits, head, device, masks=self.masks)

    def loss(self, model: nn.Module, head: Head) -> Loss:
        """The sum of the losses of proposals, classes, boxes and masks."""

        def loss(shown: Shown, draw: int) -> dict[str, Tensor]:
            return cast(Rcnn, model).losses(shown, draw)

        return loss

    @torch.no_grad()
    def judge(
        self, model: nn.Module, images: Images, normalization: Normalization, head: Head, device: torch.device,
        batch: int, what: str,
    ) -> Generator[Pause, None, Judgement]:  # fmt: skip
        """Average precision as COCO defines it."""
        assert isinstance(images, InstanceSet)
        results: list[dict[str, Any]] = []
        scores = [0.0] * len(images.pictures)
        views = tested(images, normalization, head, device, batch=batch, masks=False)

        def measure(shown: Shown) -> list[tuple[int, list[dict[str, Any]], float]]:
            originals = [images.pictures[index] for index in shown.indices]
            found = cast(Rcnn, model).find(shown, [(one.height, one.width) for one in originals])
            each = zip(shown.indices, originals, found, strict=True)
            return [(k, results_of(one, boxes, images.category_ids), match(one, boxes).f1) for k, one, boxes in each]

        with evaluating(model):
            for part in (yield from in_turns(views, measure, what)):
                for index, entries, score in part:
                    results += entries
                    scores[index] = score
        kinds: tuple[Kind, ...] = ("bbox", "segm") if self.masks else ("bbox",)
        metrics = average_precision(images.pictures, images.class_names, images.category_ids, results, kinds)
        return Judgement({**metrics, "n": len(scores)}, tuple(scores), results)

    @torch.no_grad()
    def pictures(
        self, models: Sequence[nn.Module], images: InstanceSet, normalization: Normalization, head: Head,
        device: torch.device, side: int,
    ) -> tuple[list[Row], tuple[Entry, ...]]:  # fmt: skip
        """The truth, and what each network got right, got wrong and missed."""
        views = tested(images, normalization, head, device, batch=1, masks=False)
        rows: dict[int, Row] = {}
        with evaluating(*models):
            for shown in views:
                (index,) = shown.indices
                picture = images.pictures[index]
                image = images.originals.read(index, max(picture.height, picture.width))
                size = [(picture.height, picture.width)]
                found = [cast(Rcnn, model).find(shown, size)[0] for model in models]
                rows[index] = detection_row(image, picture, found, head.class_names, side)
        crowds = any(one.crowd for picture in images.pictures for one in picture.instances)
        return [rows[index] for index in sorted(rows)], legend(crowds=crowds)
