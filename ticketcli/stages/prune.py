"""`ticket prune`: stage ii of the paper, the modified lottery-ticket rounds with the reconstruction loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ticketcli.errors import UsageError
from ticketcli.events import Note
from ticketcli.models.cost import parameters
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.stage import Unit, compensated_name, round_name
from ticketcli.stages.choosing import choose, drops_nothing, n_kept, select
from ticketcli.stages.chosen import is_choosing
from ticketcli.stages.job import Job
from ticketcli.stages.pruned_network import PrunedNetwork
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import copy_of, load_into
from ticketcli.training.loop import Run, train
from ticketcli.training.yields import Output, Produced, Yield
from ticketcli.units import Duration


def prune(job: Job[PruneConfig]) -> Iterator[Yield]:
    """Algorithm 1: finetune, drop the smallest living weights, rewind; one ticket a round. Then heal the last mask.

    The loss is L_class + lambda * L_rec (equation 11) with the decoder frozen and in eval mode. Each mask is a subset
    of the one before and exactly the asked number of weights falls; both are checked every round.

    Source: the paper, sections 4.3 and 4.4. Deviations are options: `rewind`, `first_finetune`, `criterion`, `loss`,
    `schedule`.
    """
    rounds = _Rounds(job)
    yield Note(rounds.network.describe())
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
    """The network, and the values from which the next round starts."""

    def __init__(self, job: Job[PruneConfig]) -> None:
        self.job, self.config = job, job.config
        self.network = PrunedNetwork(job)
        self.start = _Values(job.inputs["encoder"].values, "encoder")  # round 1, whatever is rewound to
        if job.before is not None:
            self.start = _Values(job.before.values, "") if self.config.goes_on else self._rewound()

    def _rewound(self) -> _Values:
        """What a ticket's living weights are set back to; BatchNorm statistics and head too."""
        role = "rewind" if "rewind" in self.job.inputs else "encoder"
        return _Values(self.job.inputs[role].values, role)

    def round(self, unit: Unit, number: int) -> Iterator[Yield]:
        """One round: finetune under the present mask, prune, rewind."""
        network, config, resume = self.network, self.config, self.job.resume_of(unit)
        length = config.finetune
        if number == 1 and not config.first_finetune:
            length = Duration(0, "it")
        metrics: dict[str, Any] = {"images": network.splits.counts()}
        if resume is not None and is_choosing(resume):
            load_into(network.model, resume["model"], where=f"the saved state of {unit.name}")
            metrics = dict(resume["metrics"])
        else:
            what, resume = f"round {number}/{config.n_rounds}", None
            yield from network.finetune(self.start.tensors, unit, number, what, length, metrics)
        before = network.mask
        chosen = yield from choose(network, number, metrics, resume)  # by the finetuned weights, not the rewound
        network.mask = chosen.mask
        if config.goes_on:
            if chosen.adjusted is not None:
                load_into(network.model, chosen.adjusted, where="the adjusted weights")
            network.enforce()
            self.start = _Values(copy_of(network.model), "")
        else:
            self.start = self._rewound()
        metrics["unhealed"] = yield from network.measure_unhealed(self.start.tensors, "the ticket")
        values: Mapping[str, Tensor] | str = self.start.role or self.start.tensors
        outputs = [Output(str(number), "ticket", round_name(number), self._about(number), values, chosen.mask)]
        if chosen.adjusted is not None and not config.goes_on:
            metrics["compensated"] = yield from network.measure_unhealed(chosen.adjusted, "the compensated ticket")
            outputs.append(self._compensated(number, chosen.adjusted, chosen.mask))
        metrics |= _counts(chosen.mask, parameters(network.model)) | {"dropped": before.kept - chosen.mask.kept}
        metrics |= {"criterion": config.criterion, **chosen.report}
        yield Produced(unit.name, tuple(outputs), metrics)

    def _compensated(self, number: int, values: Mapping[str, Tensor], mask: Mask) -> Output:
        name, stem = compensated_name(str(number)), compensated_name(round_name(number))
        about = {**self._about(number), "rewind": "none", "compensated": True}
        return Output(name, "ticket", stem, about, values, mask, mask_of=str(number))

    def _about(self, number: int) -> dict[str, Any]:
        """What a ticket says of itself."""
        config = self.config
        what = {"granularity": config.granularity} if config.drops_channels else {}
        return {**self.network.about, "round": number, "criterion": config.criterion, "rewind": config.rewind, **what}

    def heal(self, unit: Unit) -> Iterator[Yield]:
        """Finetune once more under the last mask, as the next round would begin."""
        number, network = self.config.n_rounds, self.network
        metrics: dict[str, Any] = {"images": network.splits.counts()}
        what = f"heal {number}/{number}"
        yield from network.finetune(self.start.tensors, unit, number + 1, what, self.config.healing, metrics)
        metrics |= _counts(network.mask, parameters(network.model))
        about = {**network.about, "round": number, "healed": True}
        output = Output(
            "healed",
            "ticket",
            f"healed-{number:02d}",
            about,
            copy_of(network.model),
            network.mask,
            mask_of=str(number),
        )
        yield Produced(unit.name, (output,), metrics)

    def gradual(self, unit: Unit) -> Iterator[Yield]:
        """Gradual magnitude pruning: one training whose mask shrinks after each `finetune`, then `heal` more of it."""
        config, network = self.config, self.network
        batches = network.batches("gmp")
        between = config.finetune.iterations(batches.per_epoch)
        first = between if config.first_finetune else 0
        moments = {first + between * number: number + 1 for number in range(config.rounds)}
        if len(moments) < config.rounds:
            raise UsageError("gmp prunes several times at one step", where="prune.finetune", hint="1it or more")
        length = Duration(max(moments) + config.healing.iterations(batches.per_epoch), "it")

        def shrink(iteration: int, mask: Mask) -> Mask | None:
            number = moments.get(iteration)
            if number is None or drops_nothing(n_kept(config, mask, number), mask):
                return None  # the cubic is flat at its end: many prunes of few weights drop nothing
            return select(network, mask, number)

        load_into(network.model, self.start.tensors, where="theta_pre")
        ratio = network.ratio(batches)
        run = Run(
            "gmp", network.model, network.objective, batches, config, length, network.weights, network.mask, shrink
        )
        trained = yield from train(run, resume=self.job.resume_of(unit))
        assert trained.mask is not None
        network.mask = trained.mask
        metrics = {"images": network.splits.counts(), "gradient_ratio": ratio, **(yield from network.healed())}
        metrics |= _counts(network.mask, parameters(network.model))
        about = {**self._about(config.rounds), "rewind": "none", "healed": True}
        output = Output("healed", "ticket", "gmp", about, copy_of(network.model), network.mask)
        yield Produced(unit.name, (output,), metrics)


def _counts(mask: Mask, n_parameters: int) -> dict[str, Any]:
    """Sparsity over the prunable weights, and over the whole network: papers mix the two."""
    return {
        "kept": mask.kept,
        "prunable": mask.total,
        "parameters": n_parameters,
        "sparsity": mask.sparsity,
        "network_sparsity": mask.dropped / n_parameters,
    }
