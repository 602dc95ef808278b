"""The table that ends a run: arms, intervals over replicates, and a paired difference in careful words."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ticketcli.recipe.recipe import Recipe, RecipeStep, ReportConfig
from ticketcli.report.intervals import Summary, summarize
from ticketcli.report.render import table
from ticketcli.report.units import own_files
from ticketcli.store.codec import read_mask
from ticketcli.store.manifest import Manifest
from ticketcli.store.run_folder import Run
from ticketcli.units import human_bytes


@dataclass(frozen=True)
class Cell:
    """One replicate of one row: the transferred network, and the ticket it came from."""

    top1: float
    n: int
    sparsity: float
    network_sparsity: float
    psnr: float | None
    gradient_ratio: float | None
    bytes: int
    mask: Path | None


@dataclass(frozen=True)
class Row:
    """One row of the table: all replicates of one arm."""

    value: str
    label: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Report:
    """The rows, the paired comparison, and what is missing."""

    rows: Sequence[Row]
    config: ReportConfig | None
    missing: Sequence[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values; accuracies in [0, 1]."""
        rows = []
        for row in self.rows:
            top1 = _summary(row, "top1")
            rows.append(
                {
                    "row": row.value,
                    "label": row.label,
                    "n": top1.n,
                    "top1": {"mean": top1.mean, "low": top1.low, "high": top1.high},
                    "replicates": {name: cell.top1 for name, cell in row.cells.items()},
                    "sparsity": _mean(row, "sparsity"),
                    "network_sparsity": _mean(row, "network_sparsity"),
                    "psnr_healed": _mean(row, "psnr"),
                    "gradient_ratio": _mean(row, "gradient_ratio"),
                    "bytes": _mean(row, "bytes"),
                }
            )
        return {"rows": rows, "comparison": self.comparison(), "missing": list(self.missing)}

    def comparison(self) -> dict[str, Any] | None:
        """The paired difference between the two rows that the recipe compares."""
        if self.config is None or len(self.config.compare) != 2:
            return None
        found = {row.value: row for row in self.rows}
        first, second = (found.get(name) for name in self.config.compare)
        if first is None or second is None:
            return None
        both = [name for name in first.cells if name in second.cells]
        difference = summarize([first.cells[name].top1 - second.cells[name].top1 for name in both])
        overlaps = []
        for name in both:
            masks = first.cells[name].mask, second.cells[name].mask
            if masks[0] is not None and masks[1] is not None:
                overlaps.append(read_mask(masks[0])[0].overlap(read_mask(masks[1])[0]))
        return {
            "rows": list(self.config.compare),
            "labels": [first.label, second.label],
            "n": difference.n,
            "difference": {"mean": difference.mean, "low": difference.low, "high": difference.high},
            "gradient_ratio": _mean(first, "gradient_ratio"),
            "mask_overlap": statistics.fmean(overlaps) if overlaps else None,
        }

    def as_text(self, root: Path) -> str:
        """The table, the comparison in words, where the files are and what to run next."""
        if self.config is None:
            return f"Files: {root}\nNext:  ticket status --run {root}"
        columns = ["arm", "sparse", "net", "top-1", "95 % interval", "n", "PSNR", "ticket"]
        body = table(columns, [_cells(row) for row in self.rows], right=columns[1:])
        parts = [body, *self._words()]
        if self.missing:
            parts.append(f"Not there yet: {', '.join(self.missing)}")
        where = "\n".join(
            [
                f"Files: {root.absolute()}",
                f"Next:  ticket status --run {root}             what was made, and from what",
                f"       ticket inspect STEP --run {root}       every round of a step",
                f"       ticket verify --run {root}             hash all files again",
            ]
        )
        return "\n\n".join([*parts, where])

    def _words(self) -> list[str]:
        found = self.comparison()
        if found is None or found["n"] == 0:
            return []
        mean, low, high = (100 * found["difference"][name] for name in ("mean", "low", "high"))
        first, second = found["labels"]
        n = found["n"]
        if n < 2:
            verdict = "one replicate has no interval, so nothing can be said"
        elif low <= 0 <= high:
            verdict = "inconclusive at this size"
        else:
            verdict = f"{'higher' if mean > 0 else 'lower'} in this run; one small image set, so no more than that"
        interval = f", 95 % interval {low:+.2f} to {high:+.2f}" if n > 1 else ""
        lines = [
            "Paired difference in target top-1:",
            f"  {first}, less {second}:",
            f"  {mean:+.2f} points{interval}, n = {n}: {verdict}.",
        ]
        if found["gradient_ratio"] is not None:
            lines.append(
                "Gradients in the encoder, lambda L_rec over L_class, mean over the rounds: "
                f"{found['gradient_ratio']:.2f}."
            )
        if found["mask_overlap"] is not None:
            lines.append(
                f"Mask overlap of the two (living in both over living in either): {found['mask_overlap']:.1%}."
            )
        images = {cell.n for row in self.rows for cell in row.cells.values()}
        if len(images) == 1:
            only = images.pop()
            lines.append(f"Each accuracy is of {only} test images, so one image is {100 / only:.2f} points.")
        lines += [
            "Sparse, net: masked share of the prunable weights, and of the whole network. Top-1: on the target.",
            "Intervals are Student's t over the source seeds, each with its own dense net, decoder and masks.",
            "PSNR: healed, which is after finetuning under the final mask; on source validation images.",
            "Ticket: the bytes that a ticket adds to its dense checkpoint.",
        ]
        return ["\n".join(lines)]


def _mean(row: Row, name: str) -> float | None:
    values = [getattr(cell, name) for cell in row.cells.values() if getattr(cell, name) is not None]
    return statistics.fmean(values) if values else None


def _summary(row: Row, name: str) -> Summary:
    return summarize([getattr(cell, name) for cell in row.cells.values()])


def _cells(row: Row) -> list[str]:
    top1, psnr, size = _summary(row, "top1"), _mean(row, "psnr"), _mean(row, "bytes")
    interval = f"{max(0.0, top1.low):.2%} to {min(1.0, top1.high):.2%}" if top1.n > 1 else ""
    return [
        row.label,
        f"{_mean(row, 'sparsity'):.2%}",
        f"{_mean(row, 'network_sparsity'):.2%}",
        f"{top1.mean:.2%}",
        interval,
        str(top1.n),
        "" if psnr is None else f"{psnr:.2f} dB",
        "" if size is None else human_bytes(round(size)),
    ]


def run_report(recipe: Recipe, run: Run) -> Report:
    """Gather the table that the recipe's `report:` asks for, from the manifests of what is there."""
    config = recipe.report
    if config is None:
        return Report((), None)
    rows: dict[str, dict[str, Cell]] = {}
    missing = []
    for step in recipe.steps:
        if step.group != config.table:
            continue
        value, replicate = str(step.variables[config.rows]), str(step.variables[config.over])
        manifest = run.manifest(step.name)
        if manifest is None or "task" not in manifest.units:
            missing.append(step.name)
            continue
        rows.setdefault(value, {})[replicate] = _cell(step, manifest, recipe, run)
    named = [Row(value, config.labels.get(value, value), cells) for value, cells in rows.items()]
    return Report(named, config, missing)


def _cell(step: RecipeStep, manifest: Manifest, recipe: Recipe, run: Run) -> Cell:
    metrics = manifest.units["task"].metrics
    ref = step.refs["ticket"]
    producer = run.manifest(ref.step)
    psnr, ratio, size, mask = None, None, 0, None
    if producer is not None and producer.stage == "prune":
        output = ref.output or str(producer.config["rounds"])
        psnr, ratio = _healed_psnr(producer, output), _ratio(producer, output)
        artifact = producer.artifacts()[output]
        size = sum(file.size for file in artifact.files.values() if "/" not in file.path)
        mask = artifact.files["mask"].locate(run.step_folder(ref.step))
    elif producer is not None:
        psnr = _decoder_psnr(recipe, run, ref.step)
        size = sum(
            file.size for unit in producer.units.values() for file in own_files(unit) if file.path.startswith("dense")
        )
    return Cell(
        top1=metrics["test"]["top1"],
        n=metrics["test"]["n"],
        sparsity=metrics["sparsity"],
        network_sparsity=metrics["network_sparsity"],
        psnr=psnr,
        gradient_ratio=ratio,
        bytes=size,
        mask=mask,
    )


def _healed_psnr(producer: Manifest, output: str) -> float | None:
    """PSNR after finetuning under the round's own mask: of the healing, or of the next round's beginning."""
    number = producer.config["rounds"] if output == "healed" else int(output)
    for name in (f"healed-{number:02d}", f"round-{number + 1:02d}"):
        unit = producer.units.get(name)
        value = (unit.metrics.get("healed_before") or {}).get("psnr") if unit else None
        if value is not None:
            return float(value)
    return None


def _ratio(producer: Manifest, output: str) -> float | None:
    last = producer.config["rounds"] if output == "healed" else int(output)
    values = [
        unit.metrics["gradient_ratio"]
        for name, unit in producer.units.items()
        if name.startswith("round-") and int(name[6:]) <= last and unit.metrics.get("gradient_ratio") is not None
    ]
    return statistics.fmean(values) if values else None


def _decoder_psnr(recipe: Recipe, run: Run, encoder: str) -> float | None:
    for step in recipe.steps:
        if step.stage == "train-decoder" and step.refs["encoder"].step == encoder:
            manifest = run.manifest(step.name)
            unit = manifest.units.get("decoder") if manifest else None
            return float(unit.metrics["validation"]["psnr"]) if unit else None
    return None
