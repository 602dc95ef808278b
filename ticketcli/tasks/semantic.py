"""Classes of pixels: of label images, or of the regions that outlined objects make."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.data.images import Images, Normalization, Splits
from ticketcli.data.instances import InstanceSet, Shown
from ticketcli.data.label_maps import BOUNDARY_NAMES, IGNORED, MapKind, batch_of_maps
from ticketcli.errors import UsageError
from ticketcli.events import Pause
from ticketcli.metrics.confusion import Confusion
from ticketcli.models.encoder import Encoder
from ticketcli.models.semantic import SemanticNet, build_semantic
from ticketcli.overlays.semantic import image_miou, legend, semantic_row
from ticketcli.overlays.sheet import Entry, Row
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.tasks.pixels import PixelFeed, has_maps, name_of, objects_of, require_outlines, test_side, tested
from ticketcli.tasks.task import Head, Judgement
from ticketcli.tensors import ranks
from ticketcli.tensors.modes import evaluating
from ticketcli.tensors.turns import in_turns
from ticketcli.training.loop import Feed
from ticketcli.training.replicas import Loss


class Semantic:
    """Every pixel that is not ignored counts, at the size that the images are shown at."""

    prefix = "backbone.body."
    test_batch = 8

    def check(self, splits: Splits) -> None:
        """Refuse images without objects or label images, objects without outlines, and more classes than bytes tell."""
        images = objects_of(splits)
        if not has_maps(images):
            require_outlines(splits, hint="classes of pixels need outlines; task: detection learns from boxes")
        if len(images.class_names) >= IGNORED - 1:
            hint = "keep fewer with data.classes, or use regions: boundary"
            raise UsageError(f"{len(images.class_names)} classes of pixels", where="transfer.data", hint=hint)

    def class_names(self, splits: Splits, regions: str) -> tuple[str, ...]:
        """A class for every region; label images bring their own.

        Raises:
            UsageError: regions of outlined objects are asked of label images, or the other way round.
        """
        images = objects_of(splits)
        if has_maps(images) != (regions == "image"):
            hint = "leave regions out for label images"
            raise UsageError(f"regions: {regions} does not suit these images", where="transfer.regions", hint=hint)
        classes = images.class_names
        return {"image": classes, "boundary": BOUNDARY_NAMES, "category": ("background", *classes)}[regions]

    def head(self, config: TransferConfig, splits: Splits, source_size: int) -> Head:
        """As the images and the settings ask for."""
        images = objects_of(splits)
        regions = "image" if has_maps(images) and config.regions == "category" else config.regions
        side = test_side(config, images)
        return Head(self.class_names(splits, regions), side, config.long_side, config.channels, regions=regions)

    def build(self, encoder: Encoder, head: Head, *, seed: int) -> nn.Module:
        """The encoder under a feature pyramid and a small head."""
        return build_semantic(
            encoder, n_classes=len(head.class_names), channels=head.channels, image_size=head.side, seed=seed
        )

    def describe(self, model: nn.Module, normalization: Normalization) -> str:
        """For people."""
        strides = cast(SemanticNet, model).backbone.strides[:-1]
        return f"classes of pixels, on a feature pyramid of strides {', '.join(map(str, strides))}"

    def feed(self, config: TransferConfig, splits: Splits, head: Head, device: torch.device) -> Feed:
        """Images, mirrored at random, with what is outlined on them."""
        return PixelFeed(config, objects_of(splits), splits, head, device, masks=True)

    def loss(self, model: nn.Module, head: Head) -> Loss:
        """Cross-entropy over the pixels that count."""

        def loss(shown: Shown, _draw: int) -> dict[str, Tensor]:
            wanted = batch_of_maps(shown, _regions(head))
            total = F.cross_entropy(model(shown.images), wanted, ignore_index=IGNORED, reduction="sum")
            return {"loss": total / _counting(wanted).clamp_min(1)}  # a batch may have nothing that counts

        return loss

    @torch.no_grad()
    def judge(
        self, model: nn.Module, images: Images, normalization: Normalization, head: Head, device: torch.device,
        batch: int, what: str,
    ) -> Generator[Pause, None, Judgement]:  # fmt: skip
        """Intersection over union, from counts over all pixels; a score for each image on its own."""
        assert isinstance(images, InstanceSet)
        total, scores = Confusion(len(head.class_names)), [0.0] * len(images.pictures)
        views = tested(images, normalization, head, device, batch=batch, masks=True)

        def measure(shown: Shown) -> list[tuple[int, float]]:
            wanted = batch_of_maps(shown, _regions(head))
            predicted = model(shown.images).argmax(dim=1)
            total.update(predicted, wanted)
            each = zip(shown.indices, predicted.cpu(), wanted.cpu(), strict=True)
            return [(index, image_miou(found, there, len(head.class_names))) for index, found, there in each]

        with evaluating(model):
            for part in (yield from in_turns(views, measure, what)):
                for index, score in part:
                    scores[index] = score
        ranks.add_up([total.counts])
        return Judgement({**total.measures(head.class_names), "images": len(scores)}, tuple(scores))

    @torch.no_grad()
    def pictures(
        self, models: Sequence[nn.Module], images: InstanceSet, normalization: Normalization, head: Head,
        device: torch.device, side: int,
    ) -> tuple[list[Row], tuple[Entry, ...]]:  # fmt: skip
        """The image, its true label map, and each network's."""
        views = tested(images, normalization, head, device, batch=1, masks=True)
        rows: dict[int, Row] = {}
        maps: list[Tensor] = []
        with evaluating(*models):
            for shown in views:
                (index,), ((height, width),) = shown.indices, shown.sizes
                wanted = batch_of_maps(shown, _regions(head))[0, :height, :width].cpu()
                found = [model(shown.images).argmax(dim=1)[0, :height, :width].cpu() for model in models]
                maps += [wanted, *found]
                pixels = normalization.denormalize(shown.images)[0, :, :height, :width].permute(1, 2, 0)
                image = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
                name = name_of(images.pictures[index])
                rows[index] = semantic_row(name, image, wanted, found, len(head.class_names), side)
        return [rows[index] for index in sorted(rows)], legend(maps, head.class_names)


def _counting(wanted: Tensor) -> Tensor:
    """How many pixels count: as many as if the images of all processes had as many each, so that the loss of a part of
    a batch, weighted by its images, adds up to the mean over the batch's pixels.
    """
    counts = (wanted != IGNORED).sum()
    if ranks.world() == 1:
        return counts
    of_batch = torch.stack([counts, counts.new_tensor(len(wanted))])
    ranks.add_up([of_batch])
    return of_batch[0] * len(wanted) / of_batch[1]


def _regions(head: Head) -> MapKind:
    return cast(MapKind, head.regions)
