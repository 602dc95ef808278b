"""`Task`: all that differs between kinds of target; `Head`: what a task's checkpoint has to remember of it."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import nn

from ticketcli.data.images import Images, Normalization, Splits
from ticketcli.data.instances import InstanceSet
from ticketcli.events import Pause
from ticketcli.models.encoder import Encoder
from ticketcli.overlays.sheet import Entry, Row
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.training.loop import Feed
from ticketcli.training.replicas import Loss


@dataclass(frozen=True)
class Head:
    """What stands on the backbone, and how images come to it.

    Attributes:
        class_names: of the target, by label.
        side: in pixels; classification: of the images; else the shorter side of test images.
        long_side: at most this many pixels.
        channels: of the feature pyramid.
        anchors: sides in pixels, one a level; None: by stride.
        proposals: regions that heads are shown in training; half as many in tests.
        samples: those an image that they learn from.
        regions: what the classes of pixels are.
    """

    class_names: tuple[str, ...]
    side: int
    long_side: int = 0
    channels: int = 0
    anchors: tuple[float, ...] | None = None
    proposals: int = 0
    samples: int = 0
    regions: str = ""

    def about(self) -> dict[str, Any]:
        """As JSON values, without what is not used."""
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {name: value for name, value in found.items() if value not in (0, "", None)}

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Head:
        """What a checkpoint remembers; those of classification remember no more than names and a size."""
        said = about.get("head") or {"class_names": about["class_names"], "side": about["image_size"]}
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in said.items()}
        return cls(**values)


@dataclass(frozen=True)
class Judgement:
    """What a network is worth on a part of a set.

    Attributes:
        metrics: by name.
        scores: of each image in [0, 1], for ranking; none where images are not looked at one by one.
        results: what was found, as COCO's results format has it; None where that does not apply.
    """

    metrics: dict[str, Any]
    scores: tuple[float, ...] = ()
    results: list[dict[str, Any]] | None = None


class Task(Protocol):
    """A kind of target.

    Attributes:
        prefix: of the backbone's parameters in the names of the whole network's.
        test_batch: images that a network is judged on at once, at most.
    """

    @property
    def prefix(self) -> str:
        """Of the backbone's parameters."""

    @property
    def test_batch(self) -> int:
        """Images at once, at most."""

    def check(self, splits: Splits) -> None:
        """Refuse images that this cannot be learnt from.

        Raises:
            UsageError: says what is missing.
            InputMissing: so is a package.
        """

    def class_names(self, splits: Splits, regions: str) -> tuple[str, ...]:
        """What a network for these images has to tell apart, by label; `regions` as in `Head`."""

    def head(self, config: TransferConfig, splits: Splits, source_size: int) -> Head:
        """What the settings and the images ask for."""

    def build(self, encoder: Encoder, head: Head, *, seed: int) -> nn.Module:
        """The network: the encoder, and a seeded fresh head on it."""

    def feed(self, config: TransferConfig, splits: Splits, head: Head, device: torch.device) -> Feed:
        """The training batches."""

    def describe(self, model: nn.Module, normalization: Normalization) -> str:
        """A line for people about the network; "" where there is no more to say than of the backbone."""

    def loss(self, model: nn.Module, head: Head) -> Loss:
        """What is minimised."""

    def judge(
        self, model: nn.Module, images: Images, normalization: Normalization, head: Head, device: torch.device,
        batch: int, what: str,
    ) -> Generator[Pause, None, Judgement]:  # fmt: skip
        """Measure the network on images, each seen once, in eval mode; pauses after every batch, called `what`."""

    def pictures(
        self, models: Sequence[nn.Module], images: InstanceSet, normalization: Normalization, head: Head,
        device: torch.device, side: int,
    ) -> tuple[list[Row], tuple[Entry, ...]]:  # fmt: skip
        """A row for each image: what is there, and what each network found; and what the colours mean."""
