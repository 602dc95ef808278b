"""The training batches of a stage, in the order that its seed fixes."""

from __future__ import annotations

import torch

from ticketcli.data.batches import Batches
from ticketcli.data.images import Images, Splits
from ticketcli.data.table import natural_augment
from ticketcli.recipe.configs import Data, Training
from ticketcli.tensors.seeds import derive


def order_seed(config: Training, *purpose: int | str) -> int:
    """What fixes order and augmentation for a purpose."""
    return derive(config.seed, "/".join(["batches", *(str(part) for part in purpose)]))


def training_batches(
    config: Training, images: Images, splits: Splits, data: Data, device: torch.device, *purpose: int | str
) -> Batches:
    """The training images in the order, and under the augmentation, that (seed, purpose) fixes."""
    augment = natural_augment(data.name, images.size) if config.augment == "auto" else config.augment
    return Batches(
        images,
        normalization=splits.normalization,
        batch=config.batch,
        seed=order_seed(config, *purpose),
        augment=augment,
        device=device,
    )
