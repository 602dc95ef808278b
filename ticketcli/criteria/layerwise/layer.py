"""One layer pruned by any of the methods, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ticketcli.criteria.layerwise import obc as greedy
from ticketcli.criteria.layerwise import scores as scoring
from ticketcli.criteria.layerwise.gram import Gram
from ticketcli.criteria.layerwise.inverse import Damped, damped, require_finite
from ticketcli.criteria.layerwise.lobs import lobs
from ticketcli.criteria.layerwise.ranking import Pattern, by_pattern, require_pattern, smallest, smallest_by_row
from ticketcli.criteria.layerwise.refit import refit
from ticketcli.criteria.layerwise.report import Histogram, LayerReport, histogram, quadratic, spectral_norm
from ticketcli.criteria.layerwise.sparsegpt import sparsegpt
from ticketcli.errors import DivergedError, MismatchError, TicketError, UsageError, did_you_mean
from ticketcli.recipe.criterion_config import CALIBRATED, INVERTING, PATTERNED, PREDICTING
from ticketcli.tensors.finite import is_finite

__all__ = ["BASELINES", "METHODS", "Histogram", "LayerReport", "Pruned", "power", "prune_layer", "sensitivities"]

METHODS = CALIBRATED
BASELINES = ("magnitude", "random")


@dataclass(frozen=True)
class Pruned:
    """A layer after pruning.

    Attributes:
        weight: in the shape and type that was given; +0.0 where nothing is kept.
        mask: bool, True where kept.
        bias_change: [o], to be added to the bias, or taken off the running mean of the BatchNorm that reads the layer;
            zeros where it was not centred.
        report: what it cost.
    """

    weight: Tensor
    mask: Tensor
    bias_change: Tensor
    report: LayerReport


@dataclass(frozen=True)
class _Layer:
    """A layer as the methods see it: float64, [g, o, d]; inverted on demand."""

    weight: Tensor
    alive: Tensor
    gram: Gram  # centred where asked
    mean: Tensor  # [g, d], of the inputs as they are
    share: float | None

    def in_order(self, order: Tensor) -> _Layer:
        """With the inputs in another order."""
        if bool((order[1:] > order[:-1]).all()):
            return self
        weight, alive = self.weight[:, :, order], self.alive[:, :, order]
        second = self.gram.second[:, order][:, :, order]
        gram = Gram(second, self.gram.mean[:, order], self.gram.n, self.gram.positions)
        return _Layer(weight, alive, gram, self.mean[:, order], self.share)

    @cached_property
    def damped(self) -> Damped:
        return damped(self.gram, self.share)

    @cached_property
    def inverse(self) -> Tensor:
        return self.damped.inverse()

    @cached_property
    def traces(self) -> tuple[Tensor, Tensor]:
        """Of `obc`: what each removal cost, and its place in its output's order."""
        return greedy.traces(self.weight, self.alive, self.damped)

    @cached_property
    def dead(self) -> Tensor:
        return self.gram.second.diagonal(dim1=1, dim2=2) <= 0


def prune_layer(
    weight: Tensor,
    gram: Gram,
    *,
    method: str,
    kept: int | None = None,
    epsilon: float | None = None,
    alive: Tensor | None = None,
    pattern: Pattern | None = None,
    centre: bool,
    damping: float | None = None,
    sweeps: int = 1,
    seed: int = 0,
    obc_fallback: bool = False,
) -> Pruned:
    """Prune a layer: to `kept` weights, or by what each removal may cost, or to n of m inputs; exactly one of them.

    Args:
        weight: [o, i], or [o, i/g, kh, kw].
        gram: of its inputs.
        method: one of `METHODS` or `BASELINES`.
        kept: how many weights are left, of all that live.
        epsilon: weights fall while the root of what one costs is at most this.
        alive: what lives, in the weight's shape; the rest stays zero. None: all.
        pattern: (n, m): of each m neighbouring inputs at most n are kept; a convolution's neighbours are channels at
            one tap of its kernel, as sparse tensor cores read them.
        centre: the layer's bias, or the BatchNorm that reads it, takes what the mean loses.
        damping: share of the mean second moment; None is 0.01 with fewer than ten columns an input, else 0.0001.
        sweeps: of Gauss-Seidel, for `lobs`; 1 is the published method.
        seed: for `random`.
        obc_fallback: where a layer is too large for `obc`, `lobs_refit` stands in, and the report says so.

    Raises:
        UsageError: unknown method, an impossible count, not exactly one goal, or one that the method does not have.
        MismatchError: shapes do not fit.
        DivergedError: a weight or a moment is not finite, or no damping makes the moments invertible.
    """
    method = _method(method, gram, obc_fallback)
    _require_goal(method, kept, epsilon, pattern, sweeps)
    layer = _layer(weight, gram, alive, centre, damping)
    order = _neighbours(weight, pattern)
    layer = layer.in_order(order)
    scores = _scores(layer, method, seed)
    if kept is not None and not 0 <= kept <= int(layer.alive.sum()):
        raise UsageError(f"{kept:,} weights to keep where {int(layer.alive.sum()):,} live", where="kept",
                         hint="a count from 0 to that")  # fmt: skip
    new, left, cost = _pruned(layer, scores, method, kept, epsilon, pattern, sweeps)
    new = torch.where(left, new, torch.zeros_like(new)).to(weight.dtype)
    report = _report(layer, new.double(), left, method, scores, cost, centre)
    change = new.double() - layer.weight
    shift = -(change * layer.mean[:, None, :]).sum(dim=2).flatten() if centre else change.new_zeros(len(weight))
    back = torch.argsort(order)
    new, left = (value[:, :, back].reshape(weight.shape).to(weight.device) for value in (new, left))
    return Pruned(new, left, shift.to(weight), report)


def sensitivities(
    weight: Tensor,
    gram: Gram,
    *,
    method: str,
    alive: Tensor | None = None,
    centre: bool,
    damping: float | None = None,
    seed: int = 0,
    obc_fallback: bool = False,
) -> Tensor:
    """What losing each weight would cost by a method's score, float64 in the weight's shape; zeros where nothing lives.

    In units of E, so that over `power` it compares layers; but for `magnitude`, w^2, and `random`, uniform in [0, 1).
    `sparsegpt` chooses block by block as weights move, and has those of `lobs` here; `obc` has what each weight cost in
    its output's greedy order.

    Raises:
        UsageError, MismatchError, DivergedError: as `prune_layer`.
    """
    method = _method(method, gram, obc_fallback)
    layer = _layer(weight, gram, alive, centre, damping)
    found = _scores(layer, method, seed)
    return torch.where(layer.alive, found, torch.zeros_like(found)).view(weight.shape)


def power(weight: Tensor, gram: Gram) -> float:
    """``(1/n) ||Z||^2``: the mean squared output, summed over outputs; about its mean where moments are centred."""
    require_finite(gram)
    return quadratic(_rows(weight, gram), gram.second)


def _method(method: str, gram: Gram, obc_fallback: bool) -> str:
    if method not in METHODS + BASELINES:
        raise UsageError(f"no method '{method}'", where="criterion", hint=did_you_mean(method, METHODS + BASELINES))
    if method == "obc":
        if obc_fallback and gram.inputs > greedy.MOST_INPUTS:
            return "lobs_refit"
        greedy.require_size(gram.inputs)
    return method


def _require_goal(method: str, kept: int | None, epsilon: float | None, pattern: Pattern | None, sweeps: int) -> None:
    given = [name for name, value in (("kept", kept), ("epsilon", epsilon), ("pattern", pattern)) if value is not None]
    if len(given) != 1:
        what = f"{' and '.join(given)} together" if given else "neither a count nor an error nor a pattern"
        raise UsageError(what, where="criterion", hint="give one of kept, epsilon and pattern")
    if epsilon is not None and method not in PREDICTING:
        raise UsageError(f"'{method}' knows no error that could be tolerated", where="epsilon",
                         hint="ask for a sparsity, or use lobs, lobs_refit, obc, sparsegpt, wanda or obd")  # fmt: skip
    if epsilon is not None and not 0 <= epsilon < float("inf"):
        raise UsageError(f"epsilon is {epsilon}", where="epsilon", hint="an error of 0 or more, such as 0.01")
    if pattern is not None and method not in (*PATTERNED, *BASELINES):
        raise UsageError(f"'{method}' has no n:m patterns", where="pattern", hint="use sparsegpt or lobs_refit")
    if sweeps < 1 or (sweeps > 1 and method != "lobs"):
        raise UsageError(f"{sweeps} sweeps of '{method}'", where="sweeps", hint="1, or more for lobs")


def _rows(weight: Tensor, gram: Gram) -> Tensor:
    """[g, o, d], float64, where the moments are."""
    groups, d = gram.second.shape[:2]
    if weight.ndim < 2 or len(weight) % groups or weight[0].numel() != d:
        raise MismatchError(f"a weight {tuple(weight.shape)} and the moments of {groups} x {d} inputs")
    if not is_finite(weight):
        raise DivergedError("a weight is not finite", where="the layer to prune")
    return weight.detach().to(gram.second.device, torch.float64).reshape(groups, -1, d)


def _layer(weight: Tensor, gram: Gram, alive: Tensor | None, centre: bool, share: float | None) -> _Layer:
    require_finite(gram)
    rows = _rows(weight, gram)
    if alive is not None and alive.shape != weight.shape:
        raise MismatchError(f"a mask {tuple(alive.shape)} of a weight {tuple(weight.shape)}")
    lives = torch.ones_like(rows, dtype=torch.bool) if alive is None else alive.to(rows.device).bool().view(rows.shape)
    rows = torch.where(lives, rows, torch.zeros_like(rows))
    return _Layer(rows, lives, gram.centred() if centre else gram, gram.mean, share)


def _neighbours(weight: Tensor, pattern: Pattern | None) -> Tensor:
    """The order of inputs in which a pattern's neighbours lie side by side: channels innermost; else as they are."""
    d = weight[0].numel()
    if pattern is None:
        return torch.arange(d)
    require_pattern(pattern, weight.shape[1])
    return torch.arange(d).view(weight.shape[1], -1).T.reshape(-1)


def _scores(layer: _Layer, method: str, seed: int) -> Tensor:
    weight = layer.weight
    if method == "magnitude":
        return scoring.magnitude(weight)
    if method == "random":
        return scoring.random(weight, seed)
    if method in ("wanda", "obd"):
        return scoring.diagonal(weight, layer.gram)
    if method == "apoz":
        return scoring.average_product(weight, layer.mean)
    if method == "obc":
        return layer.traces[0]
    if method in ("lobs", "lobs_refit", "sparsegpt"):
        return scoring.surgeon(weight, layer.damped, layer.inverse, layer.alive)
    raise TicketError(f"internal error: no scores of '{method}'", where="criterion", hint="please report this")


def _pruned(
    layer: _Layer,
    scores: Tensor,
    method: str,
    kept: int | None,
    epsilon: float | None,
    pattern: Pattern | None,
    sweeps: int,
) -> tuple[Tensor, Tensor, float]:
    """New weights, what is left, and the sum of the roots of the removals' costs."""
    weight, alive = layer.weight, layer.alive
    if method == "sparsegpt":
        return sparsegpt(weight, alive, layer.inverse, layer.damped.dead, kept=kept, epsilon=epsilon, pattern=pattern)
    count = int(alive.sum()) - kept if kept is not None else 0
    if method == "obc":
        costs, places = layer.traces
        count = count if epsilon is None else int(((costs <= epsilon**2) & alive).sum())
        fallen = greedy.chosen(costs, places, alive, count)
    elif pattern is not None:
        fallen = by_pattern(scores, alive, pattern)
    elif epsilon is not None:
        fallen = (scores <= epsilon**2) & alive
    elif method == "wanda":
        fallen = smallest_by_row(scores.flatten(0, 1), alive.flatten(0, 1), count).view(scores.shape)
    else:
        fallen = smallest(scores, alive, count)
    left = alive & ~fallen
    if method == "lobs":
        moved, cost = lobs(weight, fallen, scores, alive, layer.damped, layer.inverse, sweeps)
        return moved, left, cost
    if method in ("lobs_refit", "obc"):
        return refit(weight, left, layer.damped, layer.inverse), left, float(scores[fallen].sqrt().sum())
    plain = scoring.diagonal(weight, layer.gram)[fallen].sqrt().sum()
    return torch.where(left, weight, torch.zeros_like(weight)), left, float(plain)


def _report(
    layer: _Layer, new: Tensor, left: Tensor, method: str, scores: Tensor, cost: float, centred: bool
) -> LayerReport:
    error = quadratic(new - layer.weight, layer.gram.second)
    output = quadratic(layer.weight, layer.gram.second)
    inverts = method in INVERTING
    return LayerReport(
        method=method,
        error=error,
        relative=error / output if output > 0 else 0.0,
        root=error**0.5,
        sum_root=cost,
        damping=layer.damped.damping if inverts else 0.0,
        condition=layer.damped.condition(layer.inverse) if inverts else None,
        n=layer.gram.n,
        positions=layer.gram.positions,
        d=layer.gram.inputs,
        kept=int(left.sum()),
        alive=int(layer.alive.sum()),
        total=left.numel(),
        frobenius=float(new.norm()),
        spectral=spectral_norm(new),
        dead_inputs=int(layer.dead.sum()),
        centred=centred,
        sensitivities=histogram(scores, layer.alive),
    )
