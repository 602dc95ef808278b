"""SCOP's selection in a round: controls are made, channels learn how much of theirs they want; a stop loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ticketcli.channels.controls import START, controlled
from ticketcli.channels.graph import ChannelGraph
from ticketcli.channels.knockoffs.learning import Learner, learn
from ticketcli.channels.knockoffs.source import KnockoffSource
from ticketcli.channels.selection import ControlSettings, ControlTraining, train_controls
from ticketcli.data.batches import Batches
from ticketcli.data.series import Series
from ticketcli.events import Note, Progress
from ticketcli.models.encoder import Encoder
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.stages.knockoffs import Controlled, make_source, measured
from ticketcli.training.yields import Snapshot, State, Yield

STATE = "controlling"  # what a saved state calls this part of a unit
_CHOSEN = 0.05  # a gate that moved less than this has hardly begun
_AVERAGED = 20  # steps whose losses are averaged, at the start and at the end


@dataclass
class Controlling:
    """The controls of one round, and what the channels made of them.

    A saved state holds what was finetuned, the network that makes controls, and the gates with their optimiser. What
    controls are fitted to is looked at again.

    Attributes:
        what: for people, such as "round 1/2".
        model: as it was finetuned; it stands still, its BatchNorm too.
        graph: of the model.
        learning: the batches of the gates by (epoch, step).
        images: that controls are fitted to and measured on.
        base: what else a saved state holds; its `iteration` is the number of steps before.
        seed: of all draws.
        betas: what was found: convolution -> share of the real feature, [C] in [0, 1].
        report: for metrics.
    """

    what: str
    config: PruneConfig
    model: Encoder
    graph: ChannelGraph
    learning: Batches
    images: Series[tuple[Tensor, Tensor]]
    base: State
    seed: int
    betas: dict[str, Tensor] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    _saved: State = field(default_factory=dict)
    _parts: dict[str, Callable[[], Any]] = field(default_factory=dict)
    _steps: int = 0
    _losses: list[float] = field(default_factory=list)

    def load(self, state: State) -> None:
        """Go on from a saved state."""
        saved = state[STATE]
        self._saved, self._steps = saved["parts"], int(saved["steps"])
        self._losses = list(saved["losses"])
        self.base = {**self.base, "iteration": int(state["iteration"]) - self._steps}

    def run(self) -> Iterator[Yield]:
        """Fill `betas` and `report`."""
        made_of = Controlled(self.model, self.config.knockoff_at)
        source, learner, said = yield from make_source(self.config, made_of, self.images, self.seed)
        if learner is not None:
            yield from self._train(learner, made_of)
        yield from self._select(source)
        yield Snapshot(self._capture, last=True)
        self.report["knockoff"] = {
            "kind": self.config.knockoff, **said,
            **measured(source, made_of, self.images, self.config.knockoff, self.seed),
        }  # fmt: skip

    def _train(self, learner: Learner, made_of: Controlled) -> Iterator[Yield]:
        """The network that makes the controls. A step is a batch; a GAN's generator does not learn in each of them."""
        self._begin("learner", learner)
        total = self.config.knockoff_steps
        images = (made_of.of(self._batch(step)[0]) for step in range(learner.steps, total))
        for step in learn(learner, images, seed=self.seed):
            yield from self._step("training knockoffs", step.done, total)

    def _select(self, source: KnockoffSource) -> Iterator[Yield]:
        config = self.config
        total = config.selection.iterations(self.learning.per_epoch)
        with controlled(self.model, self.graph, at=config.knockoff_at) as controls:
            settings = ControlSettings(lr=config.selection_lr, lemma2_noise=config.lemma2_noise)
            training = ControlTraining(controls, source, settings, seed=self.seed)
            self._begin("gates", training)
            batches = (self._batch(step) for step in range(training.steps, total))
            for step in train_controls(training, batches):
                self._losses.append(step.loss)
                yield from self._step("selecting", step.done, total)
            self.betas = controls.values()
            n = min(_AVERAGED, max(1, len(self._losses) // 2))
            self.report = {
                "steps": total, "at_one": controls.at_one, "at_zero": controls.at_zero,
                "loss_first": _mean(self._losses[:n]), "loss_last": _mean(self._losses[-n:]),
                "betas": {name: _quartiles(beta) for name, beta in self.betas.items()},
            }  # fmt: skip
        yield Note(f"{self.what}: {_in_words(self.report, self.betas)}")

    def _begin(self, name: str, part: Learner | ControlTraining) -> None:
        """From here on it is saved; and it goes on where a saved one was."""
        if name in self._saved:
            part.load(self._saved[name])
        self._parts[name] = part.state

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        return self.learning.at(*divmod(step, self.learning.per_epoch))

    def _step(self, doing: str, done: int, total: int) -> Iterator[Yield]:
        self._steps += 1
        yield Progress(f"{self.what}, {doing}", done, total)
        yield Snapshot(self._capture)

    def _capture(self) -> State:
        parts = {name: state() for name, state in self._parts.items()}
        return {
            **self.base,
            "iteration": self.base["iteration"] + self._steps,
            STATE: {"steps": self._steps, "losses": list(self._losses), "parts": {**self._saved, **parts}},
        }


def _in_words(report: Mapping[str, Any], betas: Mapping[str, Tensor]) -> str:
    """What the selection came to, and whether it came to anything."""
    furthest = max(float((beta - START).abs().max()) for beta in betas.values())
    first, last = report["loss_first"], report["loss_last"]
    losses = "" if first is None else f", loss {first:.3g} to {last:.3g}"
    ends = f"{report['at_one']:.0%} of the gates at 1, {report['at_zero']:.0%} at 0"
    early = "; channels hardly chose, raise selection or selection_lr" if furthest < _CHOSEN else ""
    return (
        f"selected in {report['steps']:,} steps{losses}, {ends}, the furthest {furthest:.2g} from where it began{early}"
    )


def _mean(losses: list[float]) -> float | None:
    return sum(losses) / len(losses) if losses else None


def _quartiles(beta: Tensor) -> list[float]:
    """Lowest, quartiles, highest."""
    ordered = beta.double().sort().values
    return [float(ordered[round(share * (len(ordered) - 1))]) for share in (0, 0.25, 0.5, 0.75, 1)]
