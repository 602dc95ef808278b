"""What both experiments found, as tables for people and as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ticketcli.report.intervals import summarize
from ticketcli.report.render import table
from ticketcli.theory.distances import Distances
from ticketcli.theory.lcnn import Damage, Lcnn
from ticketcli.theory.limits import LARGEST_P, RULES_IN_WORDS, SLACK, Rule, slope
from ticketcli.theory.orcnn import Descent, Finetuned, Orcnn, Pretrained, predicted

_ALIKE = (0.8, 1.25)  # of r_pool / r_map: neither suffers more than the other
_SLOPES = ("r_pool", "predicted_pool", "r_map", "predicted_map")


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):#.3g}"


def _spread(values: Sequence[float]) -> str:
    """Mean and standard deviation, to the same place."""
    mean, found = _mean(values), summarize(values)
    return mean if found.sd is None else f"{mean} ± {found.sd:.{len(mean.partition('.')[2])}f}"


def _holds(in_the_mean: bool, seeds: Sequence[bool]) -> str:
    return f"{'yes' if in_the_mean else 'NO'}, {sum(seeds)} of {len(seeds)}"


def _seeds(sizes: Lcnn | Orcnn) -> str:
    if sizes.seeds == 1:
        return f"seed {sizes.first_seed}"
    return f"seeds {sizes.first_seed} to {sizes.first_seed + sizes.seeds - 1}"


# ---------------------------------------------------------------------- theorem 3.1


def lcnn_text(sizes: Lcnn, damages: Sequence[Damage]) -> str:
    """The rule of the theorem with its bounds, the controls without, the slopes of both, and what that says."""
    head = (
        "Theorem 3.1: kernels pruned from a linear convolutional network\n"
        f"{sizes.layers} layers of width {sizes.width}, {2 * sizes.s + 1} taps, {sizes.length} positions, "
        f"{_seeds(sizes)}"
    )
    ours = [one for one in damages if one.rule == "kernel-sum"]
    controls = [one for one in damages if one.rule != "kernel-sum"]
    parts = [head]
    parts += [f"The theorem's rule: {RULES_IN_WORDS['kernel-sum']}\n\n{_bounded(ours)}"] if ours else []
    parts += [f"Controls: as many kernels, chosen otherwise\n\n{_controls(controls)}"] if controls else []
    parts += [f"Slopes of log r over log p, up to p = {LARGEST_P}\n\n{_slopes(damages)}"]
    return "\n\n".join([*parts, "\n".join([*_lcnn_verdict(ours, controls), *_LCNN_LEGEND])])


_LCNN_LEGEND = (
    "r_pool, r_map: relative error of the pooled feature and of the map; mean ± standard deviation over the seeds.",
    "predicted: for infinite width, at this input. bound: the theorem's, its constants from that limit, with a factor "
    f"{SLACK}",
    "for finite width; it holds if the mean of r_pool and each r_map keep to it; then, on how many seeds both do.",
)


def _bounded(damages: Sequence[Damage]) -> str:
    columns = ("p", "r_pool", "predicted", "bound <=", "r_map", "predicted ", "bound >=", "r_pool / r_map", "holds")
    rows = [
        [f"{one.p:g}", _spread(one.values("r_pool")), _mean(one.values("predicted_pool")),
         _mean(one.values("most_pool")), _spread(one.values("r_map")), _mean(one.values("predicted_map")),
         _mean(one.values("least_map")), _mean(one.values("ratio")),
         _holds(one.holds, [loss.holds for loss in one.losses])]
        for one in damages
    ]  # fmt: skip
    return table(columns, rows, right=columns[:-1])


def _controls(damages: Sequence[Damage]) -> str:
    columns = ("rule", "p", "r_pool", "predicted", "r_map", "predicted ", "r_pool / r_map")
    rows = [
        [RULES_IN_WORDS[one.rule], f"{one.p:g}", _spread(one.values("r_pool")), _mean(one.values("predicted_pool")),
         _spread(one.values("r_map")), _mean(one.values("predicted_map")), _mean(one.values("ratio"))]
        for one in damages
    ]  # fmt: skip
    return table(columns, rows, right=columns[1:])


def slopes(damages: Sequence[Damage]) -> dict[Rule, dict[str, float | None]]:
    """Rule -> the slopes of both errors, measured and predicted, over the p that the theorem is about."""
    found: dict[Rule, dict[str, float | None]] = {}
    for rule in dict.fromkeys(one.rule for one in damages):
        own = [one for one in damages if one.rule == rule and one.p <= LARGEST_P]
        found[rule] = {name: slope([one.p for one in own], [one.mean(name) for one in own]) for name in _SLOPES}
    return found


def _slopes(damages: Sequence[Damage]) -> str:
    columns = ("rule", "of r_pool", "predicted", "of r_map", "predicted ")
    rows = [
        [RULES_IN_WORDS[rule], *("" if one is None else f"{one:.2f}" for one in found.values())]
        for rule, found in slopes(damages).items()
    ]
    return table(columns, rows, right=columns[1:])


def _lcnn_verdict(ours: Sequence[Damage], controls: Sequence[Damage]) -> list[str]:
    said = []
    within = [one for one in ours if one.p <= LARGEST_P]
    if within:
        failed = [f"{one.p:g}" for one in within if not one.holds]
        said.append(f"The bounds do not hold at p = {', '.join(failed)}." if failed else "The bounds hold at every p.")
    if any(one.p > LARGEST_P for one in ours):
        said.append(f"Above p = {LARGEST_P} the theorem says nothing.")
    ratios = [one.mean("ratio") for one in controls if any(one.values("r_map"))]
    if ratios:
        span = f"r_pool / r_map is {min(ratios):.2f} to {max(ratios):.2f} in the controls"
        apart = min(ratios) < _ALIKE[0] or max(ratios) > _ALIKE[1]
        said.append(f"{span}." if apart else f"{span}: feature and map suffer alike, and nothing is separated.")
    return said


def lcnn_json(sizes: Lcnn, damages: Sequence[Damage]) -> dict[str, Any]:
    """All numbers, by rule, p and seed."""
    found = [
        {"rule": one.rule, "p": one.p, "holds": one.holds if one.rule == "kernel-sum" else None,
         "seeds": [{**asdict(loss), "ratio": loss.ratio} for loss in one.losses]}
        for one in damages
    ]  # fmt: skip
    return {"theorem": "3.1", "sizes": asdict(sizes), "slack": SLACK, "damages": found, "slopes": slopes(damages)}


# ---------------------------------------------------------------------- theorem 3.2


def orcnn_text(sizes: Orcnn, found: Sequence[Pretrained]) -> str:
    """The distances with the theorem's bound, the controls, how the trainings went, and what that says."""
    head = (
        "Theorem 3.2: filters pruned from a ReLU network, reset, and trained again on the same labels\n"
        f"width {sizes.width}, {sizes.channels} channels, {2 * sizes.s + 1} taps, {sizes.length} positions, "
        f"{sizes.samples} samples, {_seeds(sizes)}"
    )
    parts = [head, _distances(sizes, found), _trainings(sizes, found)]
    return "\n\n".join([*parts, "\n".join([*_orcnn_verdict(sizes, found), *_ORCNN_LEGEND])])


_ORCNN_LEGEND = (
    "distance: |Q W_fin - W_pre| / sqrt(|W_fin| |W_pre|), least over all rotations Q; mean ± standard deviation over "
    "the seeds.",
    "predicted: for infinite width. untrained: the same of the filters as drawn. mixed: Q mixes filters, and nothing "
    "else.",
    "rescaled: mixed, after W_fin was given the norm of W_pre. plain: no Q at all.",
)


def _of(found: Sequence[Pretrained], p: float) -> list[Finetuned]:
    return [one.finetuned[p] for one in found]


def _distances(sizes: Orcnn, found: Sequence[Pretrained]) -> str:
    columns = (
        "p",
        "distance",
        "predicted",
        "bound >=",
        "over bound",
        "holds",
        "untrained",
        "mixed",
        "rescaled",
        "plain",
    )
    rows = []
    for p in sizes.p:
        own = _of(found, p)
        rotated = [one.trained.rotated for one in own]
        mean = sum(rotated) / len(rotated)
        others: list[list[float]] = [
            [one.untrained.rotated for one in own], [one.trained.mixed for one in own],
            [one.trained.rescaled for one in own], [one.trained.plain for one in own],
        ]  # fmt: skip
        rows.append([
            f"{p:g}", _spread(rotated), f"{predicted(p):#.3g}", f"{p / 2:g}", f"{mean / (p / 2):.2f}",
            _holds(mean >= p / 2, [one >= p / 2 for one in rotated]), *map(_mean, others),
        ])  # fmt: skip
    return table(columns, rows, right=[name for name in columns if name != "holds"])


def _trainings(sizes: Orcnn, found: Sequence[Pretrained]) -> str:
    columns = ("training", "steps", "moved by", "of lemma B.5's residual", "ended above 1e-6")
    series: dict[str, list[Descent]] = {"dense": [one.descent for one in found]}
    series |= {f"p = {p:g}": [one.descent for one in _of(found, p)] for p in sizes.p}
    rows = [
        [name, _mean([one.steps for one in own]).rstrip("."), f"{sum(one.drift for one in own) / len(own):.1%}",
         f"{max(one.slack for one in own):.2f}", str(sum(not one.converged for one in own))]
        for name, own in series.items()
    ]  # fmt: skip
    return table(columns, rows, right=columns[1:])


def _orcnn_verdict(sizes: Orcnn, found: Sequence[Pretrained]) -> list[str]:
    means = {p: sum(one.trained.rotated for one in _of(found, p)) / len(found) for p in sizes.p}
    failed = [f"{p:g}" for p, mean in means.items() if mean < p / 2]
    said = [f"The bound does not hold at p = {', '.join(failed)}: filters move too far at this width."] if failed else [
        "The bound holds at every p."]  # fmt: skip
    descents = [one.descent for one in found] + [tuned.descent for one in found for tuned in one.finetuned.values()]
    kept = sum(one.slack <= 1 for one in descents)
    eigenvalues = [one.smallest for one in found]
    said.append(
        f"Lemma B.5 holds in {kept} of {len(descents)} trainings; lambda_0 is {min(eigenvalues):#.2g} to "
        f"{max(eigenvalues):#.2g}."
    )
    return said


def orcnn_json(sizes: Orcnn, found: Sequence[Pretrained]) -> dict[str, Any]:
    """All numbers, by seed and p; the residuals of each step are left out."""

    def descent(one: Descent) -> dict[str, Any]:
        return {"steps": one.steps, "converged": one.converged, "drift": one.drift, "slack": one.slack}

    def tuned(p: float, one: Finetuned) -> dict[str, Any]:
        named: dict[str, Distances] = {"trained": one.trained, "untrained": one.untrained}
        return {"p": p, "predicted": predicted(p), "bound": p / 2, "holds": one.trained.rotated >= p / 2,
                **{name: asdict(distances) for name, distances in named.items()}, **descent(one.descent)}  # fmt: skip

    seeds = [
        {"lambda_0": one.smallest, "rate": one.rate, "dense": descent(one.descent),
         "finetuned": [tuned(p, one.finetuned[p]) for p in sizes.p]}
        for one in found
    ]  # fmt: skip
    return {"theorem": "3.2", "sizes": asdict(sizes), "seeds": seeds}
