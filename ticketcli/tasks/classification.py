"""Classes of whole images: the encoder under a fresh linear head."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.data.batches import in_order
from ticketcli.data.images import Images, Normalization, Splits
from ticketcli.data.instances import InstanceSet
from ticketcli.errors import UsageError
from ticketcli.events import Pause
from ticketcli.metrics.quality import quality
from ticketcli.models.encoder import Encoder
from ticketcli.overlays.sheet import Entry, Row
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.tasks.task import Head, Judgement
from ticketcli.tensors.seeds import generator
from ticketcli.training.feeds import training_batches
from ticketcli.training.loop import Feed
from ticketcli.training.replicas import Loss


class Classification:
    """Source: the paper, section 5.3, after [1]."""

    prefix = ""
    test_batch = 512

    def check(self, splits: Splits) -> None:
        """Refuse images without classes, and parts without images."""
        if not splits.train.labelled:
            hint = "a set with labels, such as folder:PATH"
            raise UsageError("the images have no classes to learn", where="transfer.data", hint=hint)
        if not len(splits.test.labels):  # now, not when all is trained
            raise UsageError("no test images are left", where="transfer.data", hint="choose other classes")

    def class_names(self, splits: Splits, regions: str) -> tuple[str, ...]:
        """The target's."""
        return tuple(splits.train.class_names)

    def head(self, config: TransferConfig, splits: Splits, source_size: int) -> Head:
        """A class for each of the target's."""
        return Head(self.class_names(splits, ""), config.image_size or source_size)

    def build(self, encoder: Encoder, head: Head, *, seed: int) -> nn.Module:
        """The encoder itself, its classifier replaced."""
        encoder.new_head(len(head.class_names), generator(seed, "head"))
        return encoder

    def feed(self, config: TransferConfig, splits: Splits, head: Head, device: torch.device) -> Feed:
        """Shuffled, augmented images and their labels."""
        return training_batches(config, splits.train, splits, config.data, device, "transfer")

    def describe(self, model: nn.Module, normalization: Normalization) -> str:
        """Nothing more."""
        return ""

    def loss(self, model: nn.Module, head: Head) -> Loss:
        """Cross-entropy."""

        def loss(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
            return {"loss": F.cross_entropy(model(images), labels)}

        return loss

    def judge(
        self, model: nn.Module, images: Images, normalization: Normalization, head: Head, device: torch.device,
        batch: int, what: str,
    ) -> Generator[Pause, None, Judgement]:  # fmt: skip
        """Top-1 accuracy."""
        found = yield from quality(cast(Encoder, model), in_order(images, normalization, batch, device), what=what)
        return Judgement(found)

    def pictures(
        self, models: Sequence[nn.Module], images: InstanceSet, normalization: Normalization, head: Head,
        device: torch.device, side: int,
    ) -> tuple[list[Row], tuple[Entry, ...]]:  # fmt: skip
        """None: an image's class is no picture."""
        return [], ()
