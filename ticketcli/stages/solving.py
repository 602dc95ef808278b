"""Criteria that judge by layer: the calibration pass, then layer after layer; a stop between two loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ticketcli.criteria.by_layer import ByLayer, Limit, as_array, shared_out
from ticketcli.criteria.layerwise.gram import Gram
from ticketcli.criteria.layerwise.layer import Pruned
from ticketcli.criteria.layerwise.report import Histogram, LayerReport, quadratic
from ticketcli.criteria.selection import Kept
from ticketcli.errors import TicketError
from ticketcli.events import Progress
from ticketcli.models.encoder import Encoder
from ticketcli.models.folding import norms
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.store.mask import Mask
from ticketcli.training.calibrate import Batches, Layer, Moments, groups_of, layers_of
from ticketcli.training.yields import Snapshot, State

Found = TypeVar("Found")
STATE = "solving"  # what a saved state calls this part of a unit


@dataclass
class Solving:
    """The layers of one round, from their inputs to their new weights.

    Layers whose moments do not fit into `calib_memory` together take turns, each with a pass of its own; one ranking
    over all layers then takes two passes. Moments are sums over the same batches in the same order, so that this
    changes no result.

    Attributes:
        what: for people, such as "round 1/2".
        model: as it was finetuned; it stands still.
        mask: which weights live.
        kept: how many are to be left of all or of each layer; None where `epsilon` or `pattern` decides.
        batches: the calibration images.
        base: what else a saved state holds; its `iteration` is the number of steps before.
        outputs: of the model before, batch by batch.
        pruned: what was found, by weight's name; `masked` what it costs where the weights that stay are not adjusted.
        bounds: on the error of layers' outputs, where they are known.
    """

    what: str
    config: PruneConfig
    criterion: ByLayer
    model: Encoder
    mask: Mask
    kept: Kept | None
    batches: Batches
    base: State
    outputs: list[Tensor] = field(default_factory=list)
    pruned: dict[str, Pruned] = field(default_factory=dict)
    masked: dict[str, float] = field(default_factory=dict)
    bounds: Mapping[str, float] = field(default_factory=dict)
    _scores: dict[str, Tensor] = field(default_factory=dict)
    _moments: Moments | None = None
    _saved: Mapping[str, Any] | None = None
    _steps: int = 0

    def __post_init__(self) -> None:
        self.layers: dict[str, Layer] = layers_of(self.model, self.mask)
        self.norms = norms(self.model)

    def load(self, state: State) -> None:
        """Go on from a saved state."""
        saved = state[STATE]
        self._steps, self._saved = int(saved["steps"]), saved["moments"]
        self.outputs = list(saved["outputs"])
        self._scores = dict(saved["scores"])
        self.pruned = {name: _unpacked(one) for name, one in saved["pruned"].items()}
        self.masked = dict(saved["masked"])
        self.base = {**self.base, "iteration": int(state["iteration"]) - self._steps}

    def run(self) -> Iterator[Progress | Snapshot]:
        """Fill `pruned`: every layer in which something is to fall."""
        living = [name for name in self.layers if self.mask.kept_by_name[name]]
        groups = self._groups(living)
        kept = self.kept
        if isinstance(kept, int):
            for group in groups:
                yield from self._each(group, "ranking", self._scores, self._score)
            kept = shared_out(self._scores, Mask({name: self.mask[name] for name in living}), kept)
        limits = {name: self._limit(kept, name) for name in living}
        asked = [name for name in living if limits[name].kept != self.mask.kept_by_name[name]]
        for group in groups if isinstance(self.kept, int) else self._groups(asked):
            falling = tuple(name for name in group if name in asked)
            yield from self._each(falling, "solving", self.pruned, lambda name: self._prune(name, limits[name]))
        self._moments = None
        yield Snapshot(self._capture, last=True)

    def _groups(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        return groups_of({name: self.layers[name] for name in names}, self.config.calib_bytes)

    def _limit(self, kept: Mapping[str, int] | None, name: str) -> Limit:
        if kept is not None:
            return Limit(kept=kept[name])
        return Limit(epsilon=self.config.epsilon, pattern=self.config.kept_of)

    def _each(
        self, group: tuple[str, ...], doing: str, found: dict[str, Found], act: Callable[[str], Found]
    ) -> Iterator[Progress | Snapshot]:
        """What `act` makes of every layer of a group that is not `found` yet, once their inputs are known."""
        missing = [name for name in group if name not in found]
        if not missing:
            return
        yield from self._calibrated(missing)
        for name in missing:
            found[name] = act(name)
            yield from self._step(doing, len(found), len(self.layers))

    def _calibrated(self, names: Sequence[str]) -> Iterator[Progress | Snapshot]:
        moments = self._moments_of(names)
        for output in moments.gather(self.model, self.batches):
            if len(self.outputs) == moments.done - 1:
                self.outputs.append(output)
            of = (
                ""
                if len(moments.layers) == len(self.layers)
                else f" {len(moments.layers)} of {len(self.layers)} layers"
            )
            yield from self._step(f"calibrating{of}", moments.done, len(self.batches))

    def _moments_of(self, names: Sequence[str]) -> Moments:
        """Those at hand, or saved, if they are of these layers and maybe others; else new ones."""
        if self._moments is not None and self._moments.layers.keys() >= set(names):
            return self._moments
        self._moments = None  # its memory is needed
        saved, self._saved = self._saved, None
        resumes = saved is not None and saved["sums"].keys() >= set(names)
        chosen = list(saved["sums"]) if saved is not None and resumes else names
        layers = {name: self.layers[name] for name in chosen}
        self._moments = Moments(layers, self.config.positions or None, self.config.seed)
        if saved is not None and resumes:
            self._moments.load(saved)
        return self._moments

    def _step(self, doing: str, done: int, total: int) -> Iterator[Progress | Snapshot]:
        self._steps += 1
        yield Progress(f"{self.what}, {doing}", done, total)
        yield Snapshot(self._capture)

    def _capture(self) -> State:
        return {
            **self.base,
            "iteration": self.base["iteration"] + self._steps,
            STATE: {
                "steps": self._steps,
                "outputs": list(self.outputs),
                "scores": dict(self._scores),
                "pruned": {name: _packed(one) for name, one in self.pruned.items()},
                "masked": dict(self.masked),
                "moments": None if self._moments is None else self._moments.state(),
            },
        }

    # ------------------------------------------------------------------ one layer

    def _gram(self, name: str) -> Gram:
        """Where the layer is."""
        assert self._moments is not None
        found, device = self._moments.gram(name), self.layers[name].weight.device
        return replace(found, second=found.second.to(device), mean=found.mean.to(device))

    def _settings(self, name: str) -> dict[str, Any]:
        return {"centre": self._is_centred(name), "damping": self.config.damping, "seed": self.config.seed}

    def _is_centred(self, name: str) -> bool:
        """Whether there is something that takes what the mean loses, and the method gives it that."""
        return self.criterion.adjusts and (self.layers[name].bias is not None or self._norm(name) is not None)

    def _norm(self, name: str) -> nn.BatchNorm2d | None:
        norm = self.norms.get(name.removesuffix(".weight"))
        found = self.model.get_submodule(norm) if norm is not None else None
        return found if isinstance(found, nn.BatchNorm2d) and found.running_mean is not None else None

    def _score(self, name: str) -> Tensor:
        weight = self.layers[name].weight.detach()
        with _said_of(name):
            return self.criterion.scores(weight, self._gram(name), self.mask[name], **self._settings(name))

    def _prune(self, name: str, limit: Limit) -> Pruned:
        weight, gram = self.layers[name].weight.detach(), self._gram(name)
        with _said_of(name):
            found = self.criterion.prune(weight, gram, self.mask[name], limit, **self._settings(name))
        groups, _, d = gram.second.shape
        lost = torch.where(found.mask, 0.0, weight.double()).reshape(groups, -1, d)
        self.masked[name] = quadratic(lost, gram.second)
        return found

    # ------------------------------------------------------------------ what was found

    @property
    def after(self) -> Mask:
        """The mask that is left."""
        found = {name: as_array(one.mask) for name, one in self.pruned.items()}
        return Mask({**self.mask, **found})

    @property
    def n_images(self) -> int:
        """That the model was calibrated on."""
        return sum(len(one) for one in self.outputs)

    def reports(self) -> dict[str, dict[str, Any]]:
        """Layer -> what there is to say of it, for JSON."""
        found = {}
        for place, name in enumerate(name for name in self.layers if name in self.pruned):
            layer = name.removesuffix(".weight")
            found[layer] = {**self.pruned[name].report.as_dict(), "place": place, "masked": self.masked[name]}
            found[layer] |= {"bound": self.bounds[layer]} if layer in self.bounds else {}
        return found

    @torch.no_grad()
    def adjust(self) -> None:
        """Give the model the new weights; what means lose goes into the bias, or the BatchNorm that reads the layer.

        A running mean less the change gives what a bias plus the change would: nothing else of the network reads it.
        """
        for name, pruned in self.pruned.items():
            layer, norm = self.layers[name], self._norm(name)
            layer.weight.copy_(pruned.weight)
            if layer.bias is not None:
                layer.bias += pruned.bias_change.to(layer.bias)
            elif norm is not None and norm.running_mean is not None:
                norm.running_mean -= pruned.bias_change.to(norm.running_mean)


@contextmanager
def _said_of(name: str) -> Iterator[None]:
    """Methods do not know what the layer is called."""
    try:
        yield
    except TicketError as error:
        layer = name.removesuffix(".weight")
        raise type(error)(
            error.what, where=f"{layer}, {error.where}" if error.where else layer, hint=error.hint
        ) from None


def _packed(one: Pruned) -> dict[str, Any]:
    return {"weight": one.weight, "mask": one.mask, "bias_change": one.bias_change, "report": one.report.as_dict()}


def _unpacked(saved: Mapping[str, Any]) -> Pruned:
    report = dict(saved["report"])
    shape = report.pop("sensitivities")
    histogram = Histogram(tuple(shape["edges"]), tuple(shape["counts"]), shape["zeros"])
    return Pruned(saved["weight"], saved["mask"], saved["bias_change"], LayerReport(**report, sensitivities=histogram))
