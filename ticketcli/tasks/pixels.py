"""What tasks on outlined objects share: which images will do, at what size, and in what order."""

from __future__ import annotations

import torch

from ticketcli.annotations.pictures import Picture
from ticketcli.data.augmentation import augmentation
from ticketcli.data.images import Normalization, Splits
from ticketcli.data.instances import InstanceSet, Shown
from ticketcli.data.series import Series
from ticketcli.data.table import natural_augment
from ticketcli.data.views import InstanceBatches, views_in_order
from ticketcli.errors import UsageError
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.tasks.task import Head
from ticketcli.tensors import ranks
from ticketcli.tensors.seeds import derive
from ticketcli.training.feeds import order_seed


def objects_of(splits: Splits) -> InstanceSet:
    """The training part, which has to hold outlined objects or label images.

    Raises:
        UsageError: it does not.
    """
    if not isinstance(splits.train, InstanceSet):
        hint = "scenes, scenes:SET, coco:PATH or maps:PATH"
        raise UsageError("nothing is outlined on these images", where="transfer.data", hint=hint)
    return splits.train


def require_outlines(splits: Splits, *, hint: str) -> None:
    """Refuse a set of which an object, in whatever part, has a box and no outline: before training, not after.

    Raises:
        UsageError: names the image.
    """
    for part in (splits.train, splits.validation, splits.test):
        assert isinstance(part, InstanceSet)
        bare = next((p for p in part.pictures if not all(one.segmentation for one in p.instances)), None)
        if bare is not None:
            what = f"an object on {name_of(bare)} has a box and no outline"
            raise UsageError(what, where="transfer.data", hint=hint)


def has_maps(images: InstanceSet) -> bool:
    """Whether the set has label images instead of outlined objects."""
    return bool(images.pictures) and bool(images.pictures[0].labels)


def test_side(config: TransferConfig, images: InstanceSet) -> int:
    """The shorter side at which images are tested: the largest of training, or the set's own."""
    return max(config.short_sides, default=images.size)


class PixelFeed:
    """Training batches of a set with objects: `Shown`, and a number that fixes what else is drawn in the step."""

    def __init__(
        self, config: TransferConfig, images: InstanceSet, splits: Splits, head: Head, device: torch.device,
        *, masks: bool,
    ) -> None:  # fmt: skip
        self.seed = derive(config.seed, "steps")
        kind = natural_augment(config.data.name, head.side) if config.augment == "auto" else config.augment
        self.batches = InstanceBatches(
            images,
            normalization=splits.normalization,
            batch=config.batch,
            seed=order_seed(config, "transfer"),
            short_sides=config.short_sides or (head.side,),
            long_side=head.long_side,
            mirrored=augmentation(kind).mirrored,
            masks=masks,
            device=device,
        )
        self.batch, self.per_epoch, self.share = self.batches.batch, self.batches.per_epoch, self.batches.share
        self.part = (ranks.rank(),) if ranks.rank() else ()  # processes draw differently for their parts of a batch

    def at(self, epoch: int, step: int) -> tuple[Shown, int]:
        """What this process has of the batch, and its number."""
        return self.batches.at(epoch, step), derive(self.seed, "step", epoch, step, *self.part)

    def close(self) -> None:
        """End the workers."""
        self.batches.close()


def tested(
    images: InstanceSet, normalization: Normalization, head: Head, device: torch.device, *, batch: int, masks: bool
) -> Series[Shown]:
    """All images once, as a network is tested on them."""
    return views_in_order(
        images, normalization, short_side=head.side, long_side=head.long_side, batch=batch, masks=masks, device=device
    )


def name_of(picture: Picture) -> str:
    """An image in words."""
    return f"image {picture.id}" + (f" ({picture.file_name})" if picture.file_name else "")
