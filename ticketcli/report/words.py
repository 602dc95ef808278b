"""A results table in words: its grid, its comparisons, and how to read it."""

from __future__ import annotations

from collections.abc import Sequence

from ticketcli.report.grid import Grid
from ticketcli.report.localization import LOCATED
from ticketcli.report.measures import Measure
from ticketcli.report.rows import Row
from ticketcli.report.tables import Comparison, Difference, Table, point_text

_SPARSE = (Measure("sparsity", "sparse"), Measure("network_sparsity", "net"))
_SIZE = Measure("parameters", "weights")
_BESIDE = {
    "transfer": (Measure("ticket.psnr", "PSNR"), Measure("bytes", "ticket")),
    "evaluate": (Measure("psnr", "PSNR"), Measure("bytes", "size")),
    "prune": (Measure("bytes", "ticket"),),
}
_LISTED = 6


def grid(table: Table) -> Grid:
    """What a row is, how sparse, each measure's mean, spread, interval and difference, how many, and what it weighs."""
    pointed = any(row.point != "" for row in table.rows)
    heads = [*table.variables]
    if pointed:
        heads.append("sparsity" if table.config.at else "round")
    named = bool(heads)
    columns = [heads or ["step"]]
    cells = [[[*(table.label(value) for value in row.key.values()), *([_place(row)] if pointed else [])]
              if named else list(table.config.table)] for row in table.rows]  # fmt: skip
    n_labels = len(columns[0])

    def add(names: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
        columns.append(list(names))
        for row, text in zip(cells, texts, strict=True):
            row.append(list(text))

    sparse = [measure for measure in _SPARSE if not (table.config.at and measure.name == "sparsity")]
    if len({row.mean(_SIZE.name) for row in table.rows} - {None}) > 1:  # some are compact, or other networks
        sparse.insert(0, _SIZE)
    add([measure.head for measure in sparse], [[m.text(row.mean(m.name)) for m in sparse] for row in table.rows])
    for measure in table.measures:
        against = table.against[measure.name]
        names = ["n", measure.head, "sd", "95 % interval"] + ["difference", "pairs", "p"] * any(against)
        add(names, [_statistics(row, measure) + _difference(one, measure) * any(against)
                    for row, one in zip(table.rows, against, strict=True)])  # fmt: skip
    shown = {measure.name for measure in table.measures}
    beside = [one for one in _BESIDE[table.stage] if one.name not in shown]
    add([one.head for one in beside], [[one.text(row.mean(one.name)) for one in beside] for row in table.rows])
    return Grid(
        tuple(head for part in columns for head in part),
        tuple(tuple(cell for part in row for cell in part) for row in cells),
        n_labels,
        tuple(number for number, part in enumerate(columns) for _ in part),
    ).without_empty()


def _place(row: Row) -> str:
    """A row's round or sparsity; the dense network's own sparsity, which has no round, beside interpolated tickets."""
    return point_text(row) if row.point != "" else _SPARSE[0].text(row.mean("sparsity"))


def _statistics(row: Row, measure: Measure) -> list[str]:
    found = row.summary(measure.name)
    return [str(found.n), measure.text(found.mean), measure.spread(found.sd), measure.interval(found.low, found.high)]


def _difference(one: Difference | None, measure: Measure) -> list[str]:
    if one is None or one.summary.mean is None:
        return ["", "", ""]
    text, found = measure.difference(one.summary.mean), one.summary
    if found.low is not None and found.high is not None:
        text += f" ({measure.difference(found.low)} to {measure.difference(found.high)})"
    return [text, str(found.n), "" if one.p_holm is None else f"{one.p_holm:.2g}" if one.p_holm >= 1e-3 else "<0.001"]


def comparison(table: Table, found: Comparison) -> str:
    """One paired difference in careful words."""
    told, measure = found.difference.summary, found.measure
    if told.mean is None:
        return f"{table.title(found.first)}, less {table.title(found.second)}, {measure.head}: no pair yet."
    interval = ""
    if told.low is None or told.high is None:
        verdict = "one replicate has no interval" if told.n == 1 else "equal differences have no interval"
        verdict += ", so nothing can be said"
    else:
        interval = f", 95 % interval {measure.difference(told.low)} to {measure.difference(told.high)}"
        if told.low <= 0 <= told.high:
            verdict = "inconclusive at this size"
        else:
            verdict = f"{'higher' if told.mean > 0 else 'lower'} in this run, and no more than that"
    lines = [
        f"Paired difference in {f'{table.config.table[0]} ' if len(table.config.table) == 1 else ''}{measure.head}:",
        f"  {table.title(found.first)}, less {table.title(found.second)}:",
        f"  {measure.difference(told.mean)}{measure.unit}{interval}, n = {told.n}: {verdict}.",
    ]
    if found.measure is not table.measures[0]:  # the rest is of the two rows, and was told with the first measure
        return "\n".join(lines)
    if found.gradient_ratio is not None:
        lines.append(
            f"Gradients in the encoder, lambda L_rec over L_class, mean over the rounds: {found.gradient_ratio:.2f}."
        )
    if found.mask_overlap is not None:
        lines.append(f"Mask overlap of the two (living in both over living in either): {found.mask_overlap:.1%}.")
    return "\n".join(lines)


def legend(table: Table, shown: Grid) -> list[str]:
    """How to read the columns that are there, and what was left out of them."""
    over = " and ".join(table.over)
    lines = []
    for measure in table.measures:
        sizes = {value for row in table.rows for value in row.values(_sibling(measure.name))}
        if measure.name.rpartition(".")[2].startswith("top") and len(sizes) == 1:
            images = int(sizes.pop())
            lines.append(f"Each {measure.head} is of {images} images, so one image is {100 / images:.2f} points.")
    if any(measure.kind == "precision" for measure in table.measures):
        lines.append("AP: average precision as COCO defines it, times 100; differences are points of it.")
    if any(measure.name.endswith("miou") for measure in table.measures):
        lines.append("mIoU: mean intersection over union of the classes of pixels.")
    located = {measure.name.rpartition(".")[2] for measure in table.measures if ".localization." in f".{measure.name}"}
    lines += [words for name, words in LOCATED.items() if name in located]
    if {"sparse", "net"} & set(shown.columns):
        lines.append("Sparse, net: masked share of the prunable weights, and of the whole network.")
    if _SIZE.head in shown.columns:
        lines.append("Weights: of the whole network, masked ones included; a compact one has no others left.")
    summaries = [row.summary(measure.name) for row in table.rows for measure in table.measures]
    if any(one.low is not None for one in summaries):
        lines.append(f"Sd: sample standard deviation over {over}. Intervals: Student's t, each row on its own.")
    if any(one.n == 1 for one in summaries) and table.over:
        lines.append("One replicate has no spread and no interval.")
    if any(one.sd == 0 for one in summaries):
        lines.append("Where all replicates are equal there is no interval: the measure is too coarse for one.")
    if any(any(column) for column in table.against.values()):
        lines += _legend_against(table, over)
    told = [one for column in table.against.values() for one in column if one]
    told += [one.difference for one in table.comparisons]
    if any(one.leans_on_one for one in told):
        lines.append("Some pairs share a run, so what is said of their difference holds for that run alone.")
    if any(row.interpolated for row in table.rows):
        lines.append("~: interpolated, linearly in sparsity between the rounds around it, for each replicate.")
    if table.config.at and not table.missing and any(not row.observations for row in table.rows):
        lines.append("A row without values: there are no rounds on both sides of that sparsity.")
    lines += _legend_stage(table, shown)
    if table.twins:
        lines.append(f"Equal steps run once and count once: {_listed([f'{a} = {b}' for a, b in table.twins.items()])}.")
    lines += table.problems
    if table.missing:
        lines.append(f"Not there yet: {_listed([f'{step} ({why})' for step, why in table.missing.items()])}.")
    return lines


def _legend_against(table: Table, over: str) -> list[str]:
    return [
        f"Difference: less {table.label(table.config.against)}, in pairs of equal {over or 'steps'}; mean and 95 % t "
        "interval, each on its own.",
        "P: two-sided paired t test, adjusted for all rows of this table by Holm's method; the intervals are not.",
    ]


def _legend_stage(table: Table, shown: Grid) -> list[str]:
    lines = []
    if table.stage == "prune":
        if any(measure.name.startswith("healed.") for measure in table.measures):
            lines.append(f"Healed: after finetuning under the round's own mask; on source {table.part} images.")
        if any(row.point == 0 for row in table.rows) and not table.config.at:
            lines.append("Round 0: the dense network after the first round's finetuning.")
    if table.stage == "transfer" and table.frozen not in ((), ("nothing",)):
        differ = ", not the same everywhere" if len(table.frozen) > 1 else ""
        lines.append(f"Frozen of the backbone{differ}: {'; '.join(table.frozen)}.")
    if table.stage == "transfer" and "PSNR" in shown.columns:
        told = f"PSNR: healed, which is after finetuning under the final mask; on source {table.part} images."
        lines.append(told if table.part == "validation" else f"{told} The dense network's: on validation images.")
    if "ticket" in shown.columns:
        lines.append("Ticket: the bytes that a ticket adds to its dense checkpoint.")
    if "size" in shown.columns:
        lines.append("Size: the bytes of its files, less values that are another checkpoint's.")
    return lines


def _sibling(name: str) -> str:
    """The number of images behind a metric stands beside it."""
    head, dot, _ = name.rpartition(".")
    return f"{head}{dot}n"


def _listed(items: Sequence[str]) -> str:
    more = len(items) - _LISTED
    return ", ".join(items[:_LISTED]) + (f" and {more} more" if more > 0 else "")
