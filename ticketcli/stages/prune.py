"""`ticket prune`: stage ii of the paper, the modified lottery-ticket rounds with the reconstruction loss."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ticketcli.criteria.selection import Request, Selection
from ticketcli.criteria.table import CRITERIA
from ticketcli.data.batches import Batches, in_order
from ticketcli.data.images import Images, Splits
from ticketcli.errors import TicketError, UsageError
from ticketcli.events import Measured, Note
from ticketcli.metrics.quality import Rebuild, quality
from ticketcli.models.architectures import prunable
from ticketcli.models.cost import parameters
from ticketcli.models.decoder import Decoder
from ticketcli.models.encoder import Encoder
from ticketcli.models.folding import folded
from ticketcli.models.freezing import freeze_untapped
from ticketcli.recipe.configs import Data
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.stage import Unit, round_name
from ticketcli.stages.job import (
    Job,
    check_seedable,
    data_of,
    decoder_from,
    encoder_from,
    freeze,
    knows,
    splits_of,
)
from ticketcli.stages.objective import Objective
from ticketcli.store.codec import mask_digest
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import copy_of, load_into
from ticketcli.tensors.masking import MaskedWeights
from ticketcli.tensors.ranks import require_equal, world
from ticketcli.training.feeds import training_batches
from ticketcli.training.loop import Run, learning_rate, train
from ticketcli.training.memory import is_out_of_memory
from ticketcli.training.recalibrate import calibration_batches, recalibrate
from ticketcli.training.replicas import too_large
from ticketcli.training.yields import Loaded, Output, Produced, Yield
from ticketcli.units import Duration


def prune(job: Job[PruneConfig]) -> Iterator[Yield]:
    """Algorithm 1: finetune, drop the smallest living weights, rewind; one ticket a round. Then heal the last mask.

    The loss is L_class + lambda * L_rec (equation 11) with the decoder frozen and in eval mode. Each mask is a subset
    of the one before and exactly the asked number of weights falls; both are checked every round.

    Source: the paper, sections 4.3 and 4.4. Deviations are options: `rewind`, `first_finetune`, `criterion`, `loss`,
    `schedule`.
    """
    rounds = _Rounds(job)
    yield Note(rounds.describe())
    for unit in job.todo:
        if unit.series is not None:
            yield from rounds.round(unit, int(unit.series))
        elif job.config.schedule == "gmp":
            yield from rounds.gradual(unit)
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
        self.about = _about_dense(source)
        self.data: Data = data_of(self.config.data, source.about)
        self.splits: Splits = splits_of(job, self.data, int(source.about["image_size"]), encoder=source.about)
        check_seedable(self.splits, what="prune.data", batch=self.config.batch)
        self.measured = self._measured_images()
        self._check_placebo()
        self.model: Encoder = encoder_from(source, self.device)
        self.weights = prunable(self.model, self.config.prunable)
        if not self.config.needs_labels:
            freeze_untapped(self.model, image_size=int(source.about["image_size"]))
        self.decoder: Decoder | None = None
        self.t = 0.0
        if "decoder" in job.inputs:
            self.decoder = folded(decoder_from(job.inputs["decoder"], self.model, self.device))
            self.t = float(job.inputs["decoder"].about["t"])
        teacher = folded(freeze(encoder_from(source, self.device))) if self.config.loss == "feat" else None
        self.objective = Objective(self.config, self.model, self.decoder, self.t, teacher)
        self._check_labels(len(source.about["class_names"]))
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        self.mask = Mask.full(shapes)
        self.start = _Values(source.values, "encoder")  # round 1 begins with theta_pre, whatever is rewound to
        if job.before is not None:
            assert job.before.mask is not None
            job.before.mask.require_same_shapes(shapes, of=source.ref)
            self.mask = job.before.mask
            self.start = _Values(job.before.values, "") if self.config.goes_on else self._rewound()

    def _rewound(self) -> _Values:
        """What a ticket's living weights are set back to; BatchNorm statistics and head too."""
        role = "rewind" if "rewind" in self.job.inputs else "encoder"
        return _Values(self.job.inputs[role].values, role)

    def _measured_images(self) -> Images:
        """The part of the set that masks are measured on.

        Raises:
            UsageError: the set has none.
        """
        if self.config.split == "validation":
            return self.splits.validation
        if not len(self.splits.test.labels):
            raise UsageError("the set has no test images", where="prune.split", hint="split: validation")
        return self.splits.test

    def _check_placebo(self) -> None:
        """The image that is asked for instead is another of the process's own; with one alone it would be that one.

        Raises:
            UsageError: a process has one image of each batch.
        """
        batch = min(self.config.batch, len(self.splits.train.labels))
        if self.config.target == "placebo" and batch // world() < 2:
            what = "target: placebo takes another image of the batch, and a process has one alone"
            raise UsageError(what, where="prune.batch", hint=f"a batch of {2 * world()} or more")

    def _check_labels(self, n_outputs: int) -> None:
        """A classification loss needs the labels that the encoder's head knows.

        Raises:
            UsageError: the images have no labels, or of another number of classes.
        """
        n_classes = len(self.splits.train.class_names)
        if self.config.needs_labels and n_classes != n_outputs:
            found = f"{n_classes} classes" if n_classes else "no labels"
            raise UsageError(
                f"loss {self.config.loss} needs the {n_outputs} classes of the encoder; these images have {found}",
                where="prune.data", hint="loss: rec and loss: feat need no labels",
            )  # fmt: skip

    def describe(self) -> str:
        config = self.config
        values = "one training, never rewound" if config.schedule == "gmp" else f"rewind {config.rewind}"
        return (
            f"{config.schedule}, {self.mask.total:,} of {parameters(self.model):,} weights prunable, "
            f"{config.criterion}, {self.objective.describe()}, {values}, "
            f"{len(self.splits.train.labels)} training images"
        )

    # ------------------------------------------------------------------ the paper's steps

    def round(self, unit: Unit, number: int) -> Iterator[Yield]:
        """One round: finetune under the present mask, prune, rewind."""
        length = self.config.finetune
        if number == 1 and not self.config.first_finetune:
            length = Duration(0, "it")
        metrics: dict[str, Any] = {"images": self.splits.counts()}
        yield from self._finetune(unit, number, f"round {number}/{self.config.n_rounds}", length, metrics)
        before, selection = self.mask, self._select(self.mask, number)  # from the finetuned weights, not the rewound
        self.mask = selection.mask
        if self.config.goes_on:
            self._enforce()
            self.start = _Values(copy_of(self.model), "")
        else:
            self.start = self._rewound()
        metrics["unhealed"] = yield from self._measure_unhealed()
        metrics |= _counts(self.mask, parameters(self.model)) | {"dropped": before.kept - self.mask.kept}
        metrics |= {"criterion": self.config.criterion, **selection.report}
        values: Mapping[str, Tensor] | str = self.start.role or self.start.tensors
        output = Output(str(number), "ticket", round_name(number), self._about(number), values, self.mask)
        yield Produced(unit.name, (output,), metrics)

    def _about(self, number: int) -> dict[str, Any]:
        """What a ticket says of itself."""
        config = self.config
        return {**self.about, "round": number, "criterion": config.criterion, "rewind": config.rewind}

    def heal(self, unit: Unit) -> Iterator[Yield]:
        """Finetune once more under the last mask, as the next round would begin."""
        number = self.config.n_rounds
        metrics: dict[str, Any] = {"images": self.splits.counts()}
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

    def gradual(self, unit: Unit) -> Iterator[Yield]:
        """Gradual magnitude pruning: one training whose mask shrinks after each `finetune`, then `heal` more of it."""
        config = self.config
        batches = self._batches("gmp")
        between = config.finetune.iterations(batches.per_epoch)
        first = between if config.first_finetune else 0
        moments = {first + between * number: number + 1 for number in range(config.rounds)}
        if len(moments) < config.rounds:
            raise UsageError("gmp prunes several times at one step", where="prune.finetune", hint="1it or more")
        length = Duration(max(moments) + config.healing.iterations(batches.per_epoch), "it")

        def shrink(iteration: int, mask: Mask) -> Mask | None:
            number = moments.get(iteration)
            if number is None or config.kept_after(number, living=mask.kept, total=mask.total) >= mask.kept:
                return None  # the cubic is flat at its end: many prunes of few weights drop nothing
            return self._select(mask, number).mask

        load_into(self.model, self.start.tensors, where="theta_pre")
        ratio = self._ratio(batches)
        run = Run("gmp", self.model, self.objective, batches, config, length, self.weights, self.mask, shrink)
        trained = yield from train(run, resume=self.job.resume_of(unit))
        assert trained.mask is not None
        self.mask = trained.mask
        metrics = {"images": self.splits.counts(), "gradient_ratio": ratio, **(yield from self._healed())}
        metrics |= _counts(self.mask, parameters(self.model))
        about = {**self._about(config.rounds), "rewind": "none", "healed": True}
        output = Output("healed", "ticket", "gmp", about, copy_of(self.model), self.mask)
        yield Produced(unit.name, (output,), metrics)

    def _batches(self, *purpose: int | str) -> Batches:
        return training_batches(
            self.config, self.splits.train, self.splits, self.data, self.device, "prune", *purpose
        )  # fmt: skip

    def _finetune(
        self, unit: Unit, number: int, what: str, length: Duration, metrics: dict[str, Any]
    ) -> Iterator[Yield]:
        load_into(self.model, self.start.tensors, where=f"the start of {what}")
        self._enforce()
        if length.amount == 0:
            return
        batches = self._batches(number)
        ratio = self._ratio(batches)
        config = self._rates(number, batches.per_epoch)
        run = Run(what, self.model, self.objective, batches, config, length, self.weights, self.mask)
        yield from train(run, resume=self.job.resume_of(unit))
        metrics["gradient_ratio"] = ratio
        metrics |= yield from self._healed()
        yield Measured(
            "gradients",
            {
                "unit": unit.name,
                "ratio": ratio,
                "lambda": self.config.lambda_,
                "sparsity": self.mask.sparsity,
            },
        )

    def _rates(self, number: int, per_epoch: int) -> PruneConfig:
        """The settings of a round's training: with ``rewind: none`` the rate stays where round 1 left it.

        Source: Renda et al., "Comparing Rewinding and Fine-tuning in Neural Network Pruning", 2020: finetuning goes on
        at the last rate, learning-rate rewinding repeats the schedule; both keep the weights.
        """
        config = self.config
        n = config.finetune.iterations(per_epoch)
        first = 1 if config.first_finetune else 2  # the first training that really happens
        if config.rewind != "none" or number <= first or n == 0:
            return config
        last = learning_rate(config, n - 1, per_epoch)
        return config.model_copy(update={"lr": last, "milestones": ()})

    def _select(self, mask: Mask, number: int) -> Selection:
        """What round `number` leaves of `mask`, judged by the present weights; every process makes and compares it."""
        config = self.config
        like = self.job.series["like"][str(number)].mask if "like" in self.job.series else None
        like = self.job.inputs["like"].mask if "like" in self.job.inputs else like
        kept = like.kept if like is not None else config.kept_after(number, living=mask.kept, total=mask.total)
        if kept >= mask.kept:
            raise UsageError(
                f"a round would drop nothing: it begins and ends with {mask.kept} living weights",
                where=f"round {number}",
                hint="like must be sparser each round"
                if like is not None
                else "raise fraction, or ask for fewer rounds",
            )
        weights = {name: weight.detach() for name, weight in self.weights.items()}
        selection = CRITERIA[config.criterion](Request(weights, mask, kept, config.seed, like))
        if selection.mask.kept != kept or not selection.mask <= mask:
            raise TicketError(
                f"internal error: {config.criterion} kept {selection.mask.kept} weights where {kept} "
                "were asked for, or revived one", where=f"round {number}", hint="please report this"
            )  # fmt: skip
        require_equal(mask_digest(selection.mask), f"the mask of round {number}")
        return selection

    # ------------------------------------------------------------------ measurements

    def _enforce(self) -> None:
        MaskedWeights(self.weights, self.mask).apply()

    def _measure(self, what: str) -> Generator[Yield, None, dict[str, Any]]:
        normalization = self.splits.normalization
        rebuild = None if self.decoder is None else Rebuild(self.decoder, normalization.denormalize, self.t)
        labelled = knows(self.measured, self.about)
        images = in_order(self.measured, normalization, 256, self.device)
        return (yield from quality(self.model, images, rebuild, labelled=labelled, what=what))

    def _measure_unhealed(self) -> Generator[Yield, None, dict[str, Any]]:
        """The ticket as it leaves the round: with its checkpoint's BatchNorm statistics, and with its own."""
        load_into(self.model, self.start.tensors, where="the rewound values")
        self._enforce()
        found = {"literal": (yield from self._measure("measuring the ticket"))}
        if self.config.recalibrate_bn:
            calibration = calibration_batches(self.splits, self.config.recalibrate_bn, self.device)
            yield from recalibrate(self.model, calibration)
            found["recalibrated"] = yield from self._measure("measuring it recalibrated")
        return found

    def _ratio(self, batches: Batches) -> float | None:
        """The gradients of lambda * L_rec over those of L_class, on the first batches of a round."""
        first = (batches.at(0, step) for step in range(batches.per_epoch))
        try:
            return self.objective.gradient_ratio(self.weights, self.mask, first, share=batches.share)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # out here the error is gone, and with it what was computed
        raise too_large(
            self.model, self.objective, batches.at(0, 0), batches.share, self.config, "the ratio of gradients"
        )

    def _healed(self) -> Generator[Yield, None, dict[str, Any]]:
        """The network as it was trained under the present mask."""
        found = yield from self._measure("measuring what was finetuned")
        return {"healed_before": {"sparsity": self.mask.sparsity, **found}}


def _about_dense(source: Loaded) -> dict[str, Any]:
    """What the network to be pruned says of itself; one that was transferred is a dense one like any other.

    Raises:
        UsageError: it was transferred as a ticket, or to a pixel-level task.
    """
    if source.about.get("task", "classification") != "classification" or source.mask is not None:
        what = "a ticket" if source.mask is not None else f"a network for {source.about['task']}"
        raise UsageError(
            f"{source.ref} is {what}, and pruning begins with a dense classifier",
            where="prune.encoder", hint="name a dense checkpoint, or its transfer to other classes",
        )  # fmt: skip
    return {name: value for name, value in source.about.items() if name not in ("task", "head")}


def _counts(mask: Mask, n_parameters: int) -> dict[str, Any]:
    """Sparsity over the prunable weights, and over the whole network: papers mix the two."""
    return {
        "kept": mask.kept,
        "prunable": mask.total,
        "parameters": n_parameters,
        "sparsity": mask.sparsity,
        "network_sparsity": mask.dropped / n_parameters,
    }
