"""The model card beside each export: what it is, where it comes from, what it is worth, and what it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ticketcli import __version__
from ticketcli.data.table import terms_of
from ticketcli.exports.licences import UNKNOWN, licence_of
from ticketcli.exports.packing import Written
from ticketcli.exports.subject import Subject
from ticketcli.recipe.tables import METRICS
from ticketcli.report.latency import latency_markdown
from ticketcli.report.lineage import Maker
from ticketcli.report.measures import named
from ticketcli.report.survey import flat
from ticketcli.stage import compensated_name
from ticketcli.units import human_bytes

_DIGITS = 16
_WORTH = {name.rpartition(".")[2] for names in METRICS.values() for name in names} | {"ap50", "ap75"}
_MOST_CLASSES = 20
ENDING = ".md"
_OWN = "its own step"


def card(written: Written, subjects: Sequence[Subject]) -> str:
    """The card as Markdown; everything in it is read from manifests and files, nothing is estimated."""
    sections = [
        _head(written, subjects),
        _facts(written),
        *(_origin(subject, alone=len(subjects) == 1) for subject in subjects),
        *(_worth(subject, alone=len(subjects) == 1) for subject in subjects),
        _speed(subjects),
        _limits(subjects),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(written: Written, subjects: Sequence[Subject]) -> str:
    facts, about = written.facts, subjects[0].artifact.about
    sparse = f"{facts['sparsity']:.2%} sparse" if "sparsity" in facts else "dense"
    zeros = "; masked weights are zeros in it" if "sparsity" in facts else ""
    what = {
        "packed": f"A ticket, {sparse}, packed: one bit a weight and the values of those that live",
        "bundle": f"{facts.get('networks')} networks on one frozen backbone, {sparse}",
        "ONNX": f"An ONNX graph of a network, {sparse}{zeros}",
        "int8 ONNX": f"An ONNX graph of a network, {sparse}, quantised to int8{zeros}",
    }[written.kind]
    task = about.get("task", "classification")
    lines = [
        f"# {written.file.name}",
        "",
        f"{what}. Architecture {facts['arch']}, task {task}, made by ticketcli {__version__}, an independent and "
        'unofficial implementation of "Reconstruction Task Finds Universal Winning Tickets".',
        *(f"\n{note}" for note in written.notes),
    ]
    return "\n".join(lines)


def _facts(written: Written) -> str:
    facts = dict(written.facts)
    rows: list[tuple[str, str]] = [("weights", f"{facts['parameters']:,}")]
    if "kept" in facts:
        rows += [
            ("living", f"{facts['kept']:,} of {facts['prunable']:,} prunable weights"),
            ("sparsity", f"{facts['sparsity']:.2%} of the prunable weights, {facts['network_sparsity']:.2%} of all"),
        ]
    rows.append(("file", f"{facts['bytes']:,} bytes ({human_bytes(facts['bytes'])})"))
    rows.append(("dense checkpoint", f"{facts['dense_bytes']:,} bytes ({human_bytes(facts['dense_bytes'])})"))
    for key, words in (("stored", "values"), ("opset", "opset"), ("batch", "batch")):
        rows += [(words, str(facts[key]))] if key in facts else []
    rows += [("outputs", ", ".join(facts["outputs"]))] if "outputs" in facts else []
    text = _table(("what", ""), rows)
    if "ledger" in facts:
        columns = ("wire", "disk", "memory")
        ledger = [(who, *(f"{one[what]:,}" for what in columns)) for who, one in facts["ledger"].items()]
        text += "\n\nBytes:\n\n" + _table(("", *columns), ledger)
    return "## What it holds\n\n" + text


def _origin(subject: Subject, *, alone: bool) -> str:
    about = subject.artifact.about
    rows = [("named", subject.ref)]
    rows += [(f"digest of its {role}", digest) for role, digest in subject.digests.items()]
    normalization = about.get("normalization") or {}
    if normalization:
        mean, std = (", ".join(f"{value:g}" for value in normalization[part]) for part in ("mean", "std"))
        rows.append(("images", f"RGB, {about.get('image_size')} pixels a side, mean {mean}, std {std}"))
    classes = list(map(str, about.get("class_names", ())))
    if classes:
        more = f" and {len(classes) - _MOST_CLASSES:,} more" if len(classes) > _MOST_CLASSES else ""
        rows.append((f"{len(classes):,} classes", ", ".join(classes[:_MOST_CLASSES]) + more))
    rows += list(_base(subject))
    text = f"## Where {'it' if alone else subject.ref} comes from\n\n" + _table(("what", ""), rows)
    if subject.makers:
        steps = [_step(maker) for maker in reversed(subject.makers)]
        text += "\n\nThe recipe, step by step; settings that are not named have their defaults:\n\n```yaml\n"
        text += "\n".join(steps) + "\n```"
    return text


def _base(subject: Subject) -> Iterator[tuple[str, str]]:
    """The first weights of the lineage, their licence, and the terms of all images on the way."""
    makers = subject.makers
    about = subject.artifact.about
    made = [output.about for maker in makers if maker.unit for output in maker.unit.outputs]
    imported = next((one["imported"] for one in (about, *made) if "imported" in one), None)
    if imported:
        yield "base weights", " ".join(filter(None, (str(imported.get("source")), str(imported.get("url", "")))))
        yield "their licence", licence_of(str(imported.get("source")))
    elif makers and makers[-1].manifest.stage == "pretrain":
        yield "base weights", "trained from a random draw by 'ticket pretrain'"
        yield "their licence", "whatever you give them; see the images' terms"
    else:
        yield "base weights", "not known: its first step is not in this run"
        yield "their licence", UNKNOWN
    sets = dict.fromkeys(str(name) for maker in makers if (name := _set_of(maker.config)))
    if not sets and (data := about.get("data")):
        sets = {str(data.get("name")): None}
    for name in sets:
        yield f"images: {name}", terms_of(name) or "terms not known here"


def _set_of(config: Mapping[str, Any]) -> str:
    data = config.get("data")
    return str(data.get("name", "")) if isinstance(data, Mapping) else ""


def _step(maker: Maker) -> str:
    """A step as a recipe has it, without what is at its default."""
    from ticketcli.stage import STAGES

    manifest = maker.manifest
    spec = STAGES.get(manifest.stage)
    settings = dict(manifest.config)
    if spec is not None:
        parsed = spec.config.parse(manifest.config, where=manifest.step)
        settings = parsed.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    inner = ", ".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in settings.items())
    return f"{json.dumps(manifest.step)}: {{stage: {manifest.stage}{', ' if inner else ''}{inner}}}"


def _worth(subject: Subject, *, alone: bool) -> str:
    """What was measured: by the step that made it, and by evaluations of exactly this output."""
    rows: list[tuple[str, str, str]] = []
    units = [(_OWN, maker.unit.metrics) for maker in subject.makers[:1] if maker.unit is not None]
    units += [(one.step, unit.metrics) for one in subject.evaluations for unit in one.units.values()]
    for who, metrics in units:
        known = {name: value for name, value in flat(metrics).items() if name.rpartition(".")[2] in _WORTH}
        known = {name: value for name, value in known.items() if not name.startswith("features.")}
        known = _of_output(subject, known) if who == _OWN else known
        for measure in named(list(known)):
            rows.append((who, measure.name, measure.text(known[measure.name])))
    title = f"## What {'it' if alone else subject.ref} is worth\n\n"
    if not rows:
        return title + "Nothing was measured of exactly this output; 'ticket evaluate --of' does that."
    return title + _table(("measured by", "what", "value"), rows)


def _of_output(subject: Subject, known: Mapping[str, float]) -> dict[str, float]:
    """Of what a pruning's unit measured: what was measured of this output, not of another or of what was before it."""
    if subject.artifact.kind != "ticket":
        return dict(known)
    name = subject.artifact.name
    part = (
        "healed_before." if name == "healed" else "compensated." if name.endswith(compensated_name("")) else "unhealed."
    )
    return {measure: value for measure, value in known.items() if measure.startswith(part)}


def _speed(subjects: Sequence[Subject]) -> str:
    tables = []
    for subject in subjects:
        for manifest in subject.evaluations:
            for unit in manifest.units.values():
                if text := latency_markdown(unit.metrics):
                    tables.append(f"Measured by `{manifest.step}` of {subject.ref}:\n\n{text}")
    if not tables:
        ref = subjects[0].ref
        text = f"Not measured. `ticket evaluate --of {ref} --latency true` does that, beside the dense network."
        tables = [text]
    honest = (
        "Unstructured sparsity saves storage. A runtime that multiplies dense matrices takes as long for a masked "
        "weight as for another. Only what was measured is claimed, and nothing is calculated from multiply-adds."
    )
    return "## Speed\n\n" + "\n\n".join([*tables, honest])


def _limits(subjects: Sequence[Subject]) -> str:
    lines = ["## What to know"]
    about = subjects[0].artifact.about
    if subjects[0].artifact.kind == "ticket" and "values_of" not in about and _is_rewound(subjects[0]):
        lines.append(
            "- This ticket has the values that it was rewound to beneath its mask, and the BatchNorm statistics that "
            "came with them. It is there to be transferred: as it stands it is worth little. 'ticket rewind "
            "--recalibrate-bn 1024' re-estimates the statistics."
        )
    lines += [
        "- Accuracy on other images than those named above was not measured.",
        "- Sparsity is counted over prunable weights first; over the whole network it is lower.",
        "- Unofficial: the authors of the paper have no part in this file.",
    ]
    return "\n".join([lines[0], "", *lines[1:]])


def _is_rewound(subject: Subject) -> bool:
    """Whether its values are those from before its mask was found."""
    went_on = subject.artifact.about.get("rewind") in ("none", "learning-rate")
    return subject.artifact.name != "healed" and not went_on


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in str(text)).replace("|", "\\|").replace("<", "&lt;")
