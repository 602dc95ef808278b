"""The network that is pruned: its images, its mask, how it is finetuned and what it is measured by."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ticketcli.channels.choice import kept_of
from ticketcli.channels.graph import ChannelGraph, channel_graph
from ticketcli.channels.masks import expanded
from ticketcli.data.batches import Batches, in_order
from ticketcli.data.images import Images, Splits
from ticketcli.errors import UsageError, UsageErrors, did_you_mean
from ticketcli.events import Measured
from ticketcli.explain.search import GatedNetwork
from ticketcli.metrics.quality import Rebuild, quality
from ticketcli.models.architectures import masked_parameters, prunable
from ticketcli.models.cost import parameters
from ticketcli.models.decoder import Decoder
from ticketcli.models.encoder import Encoder
from ticketcli.models.folding import folded
from ticketcli.models.freezing import freeze_untapped
from ticketcli.recipe.configs import Data
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.stage import Unit
from ticketcli.stages.job import (
    Job,
    check_seedable,
    data_of,
    decoder_from,
    encoder_from,
    freeze,
    knows,
    require_same_widths,
    splits_of,
)
from ticketcli.stages.knockoffs import check_controls
from ticketcli.stages.networks import is_classifier
from ticketcli.stages.objective import Objective
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import load_into
from ticketcli.tensors.masking import MaskedWeights
from ticketcli.tensors.modes import evaluating
from ticketcli.tensors.ranks import world
from ticketcli.training.feeds import training_batches
from ticketcli.training.loop import Run, learning_rate, train
from ticketcli.training.memory import is_out_of_memory
from ticketcli.training.recalibrate import calibration_batches, recalibrate
from ticketcli.training.replicas import too_large
from ticketcli.training.yields import Loaded, Yield
from ticketcli.units import Duration


class PrunedNetwork:
    """The network, its images and its loss; `mask` is the present one, full at first."""

    def __init__(self, job: Job[PruneConfig]) -> None:
        self.job, self.config, self.device = job, job.config, job.device
        source = job.inputs["encoder"]
        self.about = about_dense(source)
        if "rewind" in job.inputs:
            require_same_widths(source, job.inputs["rewind"], where="prune.rewind")
        self.data: Data = data_of(self.config.data, source.about)
        self.splits: Splits = splits_of(job, self.data, int(source.about["image_size"]), encoder=source.about)
        check_seedable(self.splits, what="prune.data", batch=self.config.batch)
        self.measured = self._measured_images()
        self._check_placebo()
        self.model: Encoder = encoder_from(source, self.device)
        self.weights = prunable(self.model, self.config.prunable)
        self.graph = self._channels()
        self._check_layers()
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
        self.n_steps = 0  # of the last training
        if job.before is not None:
            assert job.before.mask is not None
            job.before.mask.require_same_shapes(shapes, of=source.ref)
            self.mask = job.before.mask

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
        selects = self.config.takes_controls
        if (self.config.needs_labels or selects) and n_classes != n_outputs:
            found = f"{n_classes} classes" if n_classes else "no labels"
            who = f"loss {self.config.loss}" if self.config.needs_labels else "criterion scop"
            others = "; nor do the other criteria" if selects else ""
            raise UsageError(
                f"{who} needs the {n_outputs} classes of the encoder; these images have {found}",
                where="prune.data", hint=f"loss: rec and loss: feat need no labels{others}",
            )  # fmt: skip

    def _channels(self) -> ChannelGraph | None:
        """What falls with each channel, where channels fall; then masks name the BatchNorms too.

        Raises:
            UsageError: the network cannot be traced, or no channel of it can fall.
        """
        if not self.config.drops_channels:
            return None
        self._check_residual()
        graph = channel_graph(self.model, residual=self.config.residual)
        if self.config.residual and not any(group.falls_from_a_sum for group in graph.groups):
            hint = "leave residual out: sums keep their width where the stem, a padded shortcut or a bare tap is"
            raise UsageError("no residual sum of this network can lose channels", where="prune.residual", hint=hint)
        if not graph.groups:
            reasons = "; ".join(f"{one.conv}: {one.reason}" for one in graph.left_out[:2])
            raise UsageError(
                "no channels of this network can fall" + (f" ({reasons})" if reasons else ""),
                where="prune.granularity", hint="granularity: weight, or a network of convolutions with BatchNorm",
            )  # fmt: skip
        self._check_rounds(graph.channels)
        if self.config.criterion == "feedback":
            with evaluating(self.model):
                GatedNetwork(self.model)  # refuses what gates do not allow, before anything is trained
        if self.config.takes_controls:
            size = self.splits.train.size
            check_controls(self.config, self.model, graph, torch.zeros(1, 3, size, size, device=self.device))
        self.weights = masked_parameters(self.model, expanded(self.model, graph, {}, names=self.weights))
        return graph

    def _check_rounds(self, channels: dict[str, int]) -> None:
        """Every round drops a channel, where that does not depend on scores; now, not after a training.

        Raises:
            UsageError: names the first that does not.
        """
        config, left = self.config, channels
        for number in range(1, config.n_rounds + 1) if config.scope == "layer" else ():
            kept = kept_of(channels, config.channels_gone(number), multiple=config.round_to)
            if all(kept[name] >= n for name, n in left.items()):
                raise UsageError(
                    f"round {number} would drop no channel: it begins and ends with {sum(left.values())}",
                    where="prune.round_to" if config.round_to > 1 else "prune.rounds",
                    hint="raise fraction or channel_fraction, or lower rounds or round_to",
                )  # fmt: skip
            left = {name: min(n, kept[name]) for name, n in left.items()}

    def _check_residual(self) -> None:
        """What is compact already goes on losing the channels that it lost before: its widths are told one way.

        Raises:
            UsageError: it lost those of residual sums, and now would not; or the other way round.
        """
        before = bool(self.about.get("residual", False))
        if self.about.get("widths") and before != self.config.residual:
            what = f"this network was made smaller {'with' if before else 'without'} the channels of residual sums"
            raise UsageError(what, where="prune.residual", hint=f"residual: {str(before).lower()}, as before")

    def _check_layers(self) -> None:
        """The layers whose sparsities are given are among those that can be pruned.

        Raises:
            UsageErrors: names every one that is not.
        """
        known = [name.removesuffix(".weight") for name in self.weights]
        unknown = [name for name in self.config.sparsities or {} if name not in known]
        if unknown:
            raise UsageErrors(
                UsageError(f"no layer '{name}' to prune", where="prune.sparsities", hint=did_you_mean(name, known))
                for name in unknown
            )
        self._check_pattern()

    def _check_pattern(self) -> None:
        """Every layer's input channels are whole groups of the pattern; now, not after a training.

        Raises:
            UsageError: names those whose are not.
        """
        if self.config.kept_of is None:
            return
        _, of = self.config.kept_of
        wrong = [name.removesuffix(".weight") for name, weight in self.weights.items() if weight.shape[1] % of]
        if wrong:
            few = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
            hint = "another pattern" + (
                "; prunable: auto leaves stem and head out" if self.config.prunable != "auto" else ""
            )
            what = f"pattern {self.config.pattern} needs input channels that {of} divides; not so in {few}"
            raise UsageError(what, where="prune.pattern", hint=hint)

    def describe(self) -> str:
        """What is done to it, in a line."""
        config = self.config
        looks = f" by {min(config.calibrate, len(self.splits.train.labels)):,} images" if config.is_calibrated else ""
        looks += ", compensated" if config.compensate else ""
        values = "one training, never rewound" if config.schedule == "gmp" else f"rewind {config.rewind}"
        what = f"{self.mask.total:,} of {parameters(self.model):,} weights prunable"
        if self.graph is not None:
            channels = self.graph.channels
            what = f"{sum(channels.values()):,} channels of {len(channels)} layers can fall"
            if self.graph.left_out:
                first = self.graph.left_out[0]
                what += f" ({len(self.graph.left_out)} convolutions keep theirs, {first.conv}: {first.reason})"
        return (
            f"{config.schedule}, {what}, "
            f"{config.criterion}{looks}, {self.objective.describe()}, {values}, "
            f"{len(self.splits.train.labels)} training images"
        )

    def batches(self, *purpose: int | str) -> Batches:
        """Its training images in the order of a purpose, such as a round's number."""
        return training_batches(
            self.config, self.splits.train, self.splits, self.data, self.device, "prune", *purpose
        )  # fmt: skip

    def finetune(
        self, start: Mapping[str, Tensor], unit: Unit, number: int, what: str, length: Duration, metrics: dict[str, Any]
    ) -> Iterator[Yield]:
        """Train from `start` under the present mask; what is measured goes into `metrics`."""
        load_into(self.model, start, where=f"the start of {what}")
        self.enforce()
        if length.amount == 0:
            return
        batches = self.batches(number)
        self.n_steps = length.iterations(batches.per_epoch)
        ratio = self.ratio(batches)
        config = self._rates(number, batches.per_epoch)
        run = Run(what, self.model, self.objective, batches, config, length, self.weights, self.mask)
        yield from train(run, resume=self.job.resume_of(unit))
        metrics["gradient_ratio"] = ratio
        metrics |= yield from self.healed()
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

    # ------------------------------------------------------------------ measurements

    def enforce(self) -> None:
        """Set what the mask leaves out to +0.0."""
        MaskedWeights(self.weights, self.mask).apply()

    def _measure(self, what: str) -> Generator[Yield, None, dict[str, Any]]:
        normalization = self.splits.normalization
        rebuild = None if self.decoder is None else Rebuild(self.decoder, normalization.denormalize, self.t)
        labelled = knows(self.measured, self.about)
        images = in_order(self.measured, normalization, 256, self.device)
        return (yield from quality(self.model, images, rebuild, labelled=labelled, what=what))

    def measure_unhealed(self, values: Mapping[str, Tensor], what: str) -> Generator[Yield, None, dict[str, Any]]:
        """Values under the mask, not trained: with their own BatchNorm statistics, and with re-estimated ones."""
        load_into(self.model, values, where=what)
        self.enforce()
        found = {"literal": (yield from self._measure(f"measuring {what}"))}
        if self.config.recalibrate_bn:
            calibration = calibration_batches(self.splits, self.config.recalibrate_bn, self.device)
            yield from recalibrate(self.model, calibration)
            found["recalibrated"] = yield from self._measure(f"measuring {what} recalibrated")
        return found

    def ratio(self, batches: Batches) -> float | None:
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

    def healed(self) -> Generator[Yield, None, dict[str, Any]]:
        """The network as it was trained under the present mask."""
        found = yield from self._measure("measuring what was finetuned")
        return {"healed_before": {"sparsity": self.mask.sparsity, **found}}


def about_dense(source: Loaded) -> dict[str, Any]:
    """What the network to be pruned says of itself; one that was transferred is a dense one like any other.

    Raises:
        UsageError: it was transferred as a ticket, or to a pixel-level task.
    """
    if not is_classifier(source.about) or source.mask is not None:
        what = "a ticket" if source.mask is not None else f"a network for {source.about['task']}"
        raise UsageError(
            f"{source.ref} is {what}, and pruning begins with a dense classifier",
            where="prune.encoder", hint="name a dense checkpoint, or its transfer to other classes",
        )  # fmt: skip
    return {name: value for name, value in source.about.items() if name not in ("task", "head")}
