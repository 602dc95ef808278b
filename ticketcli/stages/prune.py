"""`ticket prune`: stage ii of the paper, the modified lottery-ticket rounds with the reconstruction loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ticketcli.criteria.selection import Request, Selection
from ticketcli.criteria.table import CRITERIA
from ticketcli.data.batches import Batches, in_order
from ticketcli.data.images import Splits
from ticketcli.errors import TicketError, UsageError
from ticketcli.events import Measured, Note
from ticketcli.metrics.quality import Rebuild, quality
from ticketcli.models.architectures import prunable
from ticketcli.models.cost import parameters
from ticketcli.models.decoder import Decoder
from ticketcli.models.encoder import Encoder
from ticketcli.recipe.configs import Data, PruneConfig
from ticketcli.stage import Unit
from ticketcli.stages.job import (
    CALIBRATION_BATCH,
    Job,
    check_seedable,
    data_of,
    decoder_from,
    encoder_from,
    splits_of,
    training_batches,
)
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import copy_of, load_into
from ticketcli.tensors.masking import MaskedWeights
from ticketcli.training.gradient_ratio import gradient_ratio
from ticketcli.training.loop import Run, train
from ticketcli.training.recalibrate import recalibrate
from ticketcli.training.yields import Output, Produced, Yield
from ticketcli.units import Duration

_RATIO_BATCHES = 2


def prune(job: Job[PruneConfig]) -> Iterator[Yield]:
    """Algorithm 1: finetune, drop the smallest living weights, rewind; one ticket a round. Then heal the last mask.

    The loss is L_class + lambda * L_rec (equation 11) with the decoder frozen and in eval mode. Each mask is a subset
    of the one before and exactly the asked number of weights falls; both are checked every round.

    Source: the paper, sections 4.3 and 4.4. Deviations are options: `rewind`, `first_finetune`, `criterion`.
    """
    rounds = _Rounds(job)
    yield Note(rounds.describe())
    for unit in job.todo:
        if unit.series is not None:
            yield from rounds.round(unit, int(unit.series))
        else:
            yield from rounds.heal(unit)


@dataclass
class _Values:
    """Parameter values, and the input role whose file already holds them ("" where none does)."""

    tensors: Mapping[str, Tensor]
    role: str


class _Rounds:
    """The network, the present mask, and the values from which the next round starts."""

    def __init__(self, job: Job[PruneConfig]) -> None:
        self.job, self.config, self.device = job, job.config, job.device
        source = job.inputs["encoder"]
        self.about = dict(source.about)
        self.data: Data = data_of(self.config.data, source.about)
        self.splits: Splits = splits_of(self.data, self.config.seed)
        check_seedable(self.splits, what="prune.data")
        self.model: Encoder = encoder_from(source, self.device)
        self.weights = prunable(self.model)
        self.decoder: Decoder | None = None
        if "decoder" in job.inputs:
            self.decoder = decoder_from(job.inputs["decoder"], self.model, self.device)
            self.t = float(job.inputs["decoder"].about["t"])
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        self.mask = Mask.full(shapes)
        self.start = _Values(source.values, "encoder")  # round 1 begins with theta_pre, whatever is rewound to
        if job.before is not None:
            assert job.before.mask is not None
            job.before.mask.require_same_shapes(shapes, of=source.ref)
            self.mask = job.before.mask
            self.start = _Values(job.before.values, "") if self.config.rewind == "none" else self._rewound()

    def _rewound(self) -> _Values:
        """What a ticket's living weights are set back to; BatchNorm statistics and head too."""
        role = "rewind" if "rewind" in self.job.inputs else "encoder"
        return _Values(self.job.inputs[role].values, role)

    def describe(self) -> str:
        config = self.config
        aim = f"L_class + {config.lambda_:g} L_rec" if config.lambda_ else "L_class"
        return (
            f"{self.mask.total:,} of {parameters(self.model):,} weights prunable, {config.criterion}, {aim}, "
            f"rewind {config.rewind}, {len(self.splits.train.labels)} training images"
        )

    # ------------------------------------------------------------------ the paper's steps

    def round(self, unit: Unit, number: int) -> Iterator[Yield]:
        """One round: finetune under the present mask, prune, rewind."""
        length = self.config.finetune
        if number == 1 and not self.config.first_finetune:
            length = Duration(0, "it")
        metrics: dict[str, Any] = {}
        yield from self._finetune(unit, number, f"round {number}/{self.config.rounds}", length, metrics)
        selection = self._select(number)  # from the finetuned weights, before they are rewound
        before, self.mask = self.mask, selection.mask
        if self.config.rewind == "none":
            self._enforce()
            self.start = _Values(copy_of(self.model), "")
        else:
            self.start = self._rewound()
        metrics["unhealed"] = self._measure_unhealed()
        metrics |= _counts(self.mask, parameters(self.model)) | {"dropped": before.kept - self.mask.kept}
        metrics |= {"criterion": self.config.criterion, **selection.report}
        values: Mapping[str, Tensor] | str = self.start.role or self.start.tensors
        about = {
            **self.about,
            "round": number,
            "criterion": self.config.criterion,
            "rewind": self.config.rewind,
        }
        output = Output(str(number), "ticket", f"round-{number:02d}", about, values, self.mask)
        yield Produced(unit.name, (output,), metrics)

    def heal(self, unit: Unit) -> Iterator[Yield]:
        """Finetune once more under the last mask, as the next round would begin."""
        number = self.config.rounds
        metrics: dict[str, Any] = {}
        yield from self._finetune(unit, number + 1, f"heal {number}/{number}", self.config.healing, metrics)
        metrics |= _counts(self.mask, parameters(self.model))
        about = {**self.about, "round": number, "healed": True}
        output = Output(
            "healed",
            "ticket",
            f"healed-{number:02d}",
            about,
            copy_of(self.model),
            self.mask,
            mask_of=str(number),
        )
        yield Produced(unit.name, (output,), metrics)

    def _finetune(
        self, unit: Unit, number: int, what: str, length: Duration, metrics: dict[str, Any]
    ) -> Iterator[Yield]:
        load_into(self.model, self.start.tensors, where=f"the start of {what}")
        self._enforce()
        if length.amount == 0:
            return
        batches = training_batches(self.config, self.splits.train, self.splits, self.data, self.device, "prune", number)
        ratio = self._ratio(batches)
        run = Run(what, self.model, self._loss, batches, self.config, length, self.weights, self.mask)
        yield from train(run, resume=self.job.resume_of(unit))
        metrics["gradient_ratio"] = ratio
        metrics["healed_before"] = {"sparsity": self.mask.sparsity, **self._measure()}
        yield Measured(
            "gradients",
            {
                "unit": unit.name,
                "ratio": ratio,
                "lambda": self.config.lambda_,
                "sparsity": self.mask.sparsity,
            },
        )

    def _loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Equation 11. Without lambda the decoder is not run at all."""
        if self.config.lambda_ == 0 or self.decoder is None:
            return {"loss": F.cross_entropy(self.model(images), labels)}
        taps, logits = self.model.taps_and_logits(images)
        classification = F.cross_entropy(logits, labels)
        reconstruction = F.mse_loss(self.decoder(taps, t=self.t), images)
        return {
            "loss": classification + self.config.lambda_ * reconstruction,
            "class": classification,
            "rec": reconstruction,
        }

    def _select(self, number: int) -> Selection:
        config = self.config
        like = self.job.series["like"][str(number)].mask if "like" in self.job.series else None
        like = self.job.inputs["like"].mask if "like" in self.job.inputs else like
        weights = {name: weight.detach() for name, weight in self.weights.items()}
        request = Request(weights, self.mask, config.fraction, config.seed, like)
        if like is not None and like.kept >= self.mask.kept:
            raise UsageError(
                "a round would drop nothing", where=f"round {number}", hint="like must be sparser each round"
            )
        selection = CRITERIA[config.criterion](request)
        if selection.mask.kept != request.kept_after or not selection.mask <= self.mask:
            raise TicketError(
                f"internal error: {config.criterion} kept {selection.mask.kept} weights where {request.kept_after} "
                "were asked for, or revived one", where=f"round {number}", hint="please report this"
            )  # fmt: skip
        return selection

    # ------------------------------------------------------------------ measurements

    def _enforce(self) -> None:
        MaskedWeights(self.weights, self.mask).apply()

    def _measure(self) -> dict[str, Any]:
        normalization = self.splits.normalization
        rebuild = None if self.decoder is None else Rebuild(self.decoder, normalization.denormalize, self.t)
        return quality(self.model, in_order(self.splits.validation, normalization, 256, self.device), rebuild)

    def _measure_unhealed(self) -> dict[str, Any]:
        """The ticket as it leaves the round: with its checkpoint's BatchNorm statistics, and with its own."""
        load_into(self.model, self.start.tensors, where="the rewound values")
        self._enforce()
        found = {"literal": self._measure()}
        if self.config.recalibrate_bn:
            recalibrate(self.model, calibration_batches(self.splits, self.config.recalibrate_bn, self.device))
            found["recalibrated"] = self._measure()
        return found

    def _ratio(self, batches: Batches) -> float | None:
        """The gradients of lambda * L_rec over those of L_class, on the first batches of a round."""
        decoder = self.decoder
        if decoder is None or self.config.lambda_ == 0:
            return None

        def losses(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            parts = self._loss(images, labels)
            return parts["class"], self.config.lambda_ * parts["rec"]

        few = (batches.at(0, step) for step in range(min(_RATIO_BATCHES, batches.per_epoch)))
        return gradient_ratio(self.model, self.weights, self.mask, losses, few)


def calibration_batches(splits: Splits, n_images: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The first `n_images` source training images, unaugmented, spread evenly over the set."""
    total = len(splits.train.labels)
    chosen = np.unique(np.linspace(0, total - 1, min(n_images, total)).round().astype(np.int64))
    return in_order(splits.train.take(torch.from_numpy(chosen)), splits.normalization, CALIBRATION_BATCH, device)


def _counts(mask: Mask, n_parameters: int) -> dict[str, Any]:
    """Sparsity over the prunable weights, and over the whole network: papers mix the two."""
    return {
        "kept": mask.kept,
        "prunable": mask.total,
        "parameters": n_parameters,
        "sparsity": mask.sparsity,
        "network_sparsity": mask.dropped / n_parameters,
    }
