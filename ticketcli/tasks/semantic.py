"""Classes of pixels: of label images, or of the regions that outlined objects make."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.data.images import Images, Normalization, Splits
from ticketcli.data.instances import InstanceSet, Shown
from ticketcli.data.label_maps import IGNORED, batch_of_maps
from ticketcli.data.views import views_in_order
from ticketcli.metrics.confusion import Confusion
from ticketcli.models.encoder import Encoder
from ticketcli.models.semantic import SemanticNet, build_semantic
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.tasks.pixels import PixelFeed, has_maps, objects_of, test_side
from ticketcli.tasks.task import Head, Judgement
from ticketcli.tensors.modes import evaluating
from ticketcli.training.loop import Feed, Loss

_BOUNDARY = ("background", "interior", "boundary")


class Semantic:
    """Every pixel that is not ignored counts, at the size that the images are shown at."""

    prefix = "backbone.body."

    def check(self, splits: Splits) -> None:
        """Refuse images without objects or label images."""
        objects_of(splits)

    def head(self, config: TransferConfig, splits: Splits, source_size: int) -> Head:
        """A class for every region; label images bring their own."""
        images = objects_of(splits)
        regions = "maps" if has_maps(images) else config.regions
        names = {"maps": images.class_names, "boundary": _BOUNDARY, "category": ("background", *images.class_names)}
        side = test_side(config, images)
        return Head(names[regions], side, config.long_side, config.channels, regions=regions)

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
            wanted = batch_of_maps(shown, head.regions)
            return {"loss": F.cross_entropy(model(shown.images), wanted, ignore_index=IGNORED)}

        return loss

    @torch.no_grad()
    def judge(
        self, model: nn.Module, images: Images, normalization: Normalization, head: Head, device: torch.device,
        batch: int,
    ) -> Judgement:  # fmt: skip
        """Intersection over union, from counts over all pixels; a score for each image on its own."""
        assert isinstance(images, InstanceSet)
        total = Confusion(len(head.class_names))
        scores = [0.0] * len(images.pictures)
        views = views_in_order(
            images, normalization, short_side=head.side, long_side=head.long_side, batch=batch, masks=True,
            device=device,
        )  # fmt: skip
        with evaluating(model):
            for shown in views:
                predicted = model(shown.images).argmax(dim=1)
                for index, found, wanted in zip(
                    shown.indices, predicted, batch_of_maps(shown, head.regions), strict=True
                ):
                    own = Confusion(len(head.class_names))
                    own.update(found, wanted)
                    total.add(own)
                    scores[index] = float(own.measures(head.class_names)["miou"] or 0.0)
        return Judgement({**total.measures(head.class_names), "images": len(scores)}, tuple(scores))
