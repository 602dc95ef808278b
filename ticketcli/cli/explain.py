"""`ticket explain`: what networks look at when they see a class, several of them side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import outputs, words
from ticketcli.cli.target import find_artifact
from ticketcli.data.sources import Sources
from ticketcli.errors import UsageError
from ticketcli.events import Event, listeners
from ticketcli.report.lineage import lineage
from ticketcli.store.run_folder import Run

_MODES, _GUARDS = ("fr", "fsp", "fsp-fr"), ("backtrack", "none")


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, explain)


def explain(
    what: Annotated[
        list[str],
        typer.Argument(
            help="One or more of: STEP, STEP/OUTPUT, a checkpoint; of classifiers.", autocompletion=outputs()
        ),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="The new folder for what is found.")],
    images: Annotated[
        list[str] | None,
        typer.Option(
            "--images",
            metavar="DATA",
            help="An image set, a folder of images, or a file (again for more); by default "
            "what the first checkpoint was trained on. Of a set its test images.",
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, metavar="N", help="At most so many images.")] = 8,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            metavar="TARGET",
            help="gt (each class on the image), top1 (each network's own), a class by name "
            "or number, or a neuron, LAYER:CHANNEL[:ROW:COLUMN].",
            autocompletion=words("gt", "top1"),
        ),
    ] = "top1",
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            help="fr: top-down, gates may open again; fsp: gates only close; fsp-fr: one, then the other.",
            autocompletion=words(*_MODES),
        ),
    ] = "fr",
    guard: Annotated[
        str,
        typer.Option(
            "--guard",
            help="Of fsp: backtrack takes back what lowers the target; none is as published.",
            autocompletion=words(*_GUARDS),
        ),
    ] = "backtrack",
    ratio: Annotated[
        float,
        typer.Option("--ratio", min=0, metavar="X", help="A gate opens from X times the mean positive gradient on."),
    ] = 0.0,
    fsp_ratio: Annotated[
        float | None,
        typer.Option(
            "--fsp-ratio",
            min=0,
            metavar="X",
            help="Of fsp-fr: that of FSP's stages, where it is another. Its authors: 1, with --ratio 0.1 --sweeps 1 "
            "--border --guard none.",
        ),
    ] = None,
    middle: Annotated[
        str | None,
        typer.Option(
            "--middle",
            metavar="LAYER",
            help="Of fsp-fr: the ReLU where FSP hands over to FR, such as layer4.0.relu#3; by default the first of the "
            "smallest maps.",
        ),
    ] = None,
    border: Annotated[bool, typer.Option("--border", help="Leave the border of each layer's maps out.")] = False,
    sweeps: Annotated[int, typer.Option("--sweeps", min=1, metavar="N", help="At most so many sweeps.")] = 10,
    threshold: Annotated[
        float,
        typer.Option("--threshold", metavar="X", help="Boxes and regions are from X times a map's maximum on."),
    ] = 0.15,
    side: Annotated[
        int | None,
        typer.Option("--side", min=8, max=2048, metavar="N", help="Shorter side of the images in pixels."),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, metavar="N", help="Images looked at together, which bounds the memory.")
    ] = 16,
    gates: Annotated[bool, typer.Option("--gates", help="Also write the gates, a bit each.")] = False,
    data_dir: process.DataDirOption = process.DATA_DIR,
    download: process.DownloadOption = False,
    workers: process.WorkersOption = None,
    device: process.DeviceOption = "auto",
    run: process.RunOption = Path("run"),
    as_json: process.JsonOption = False,
    quiet: process.QuietOption = False,
) -> None:
    """Find what networks look at: the gates that maximise a target, and then the energy that each pixel has for it.

    Writes a folder: sheets of pictures (the image, and of each network its map with a box, and its region), the maps
    themselves, and explained.json with the target after each sweep, the boxes, and the open share of each layer. All
    networks see the same images. 'ticket evaluate --localize' measures how often the boxes are right.
    """
    _require_sense(mode, guard, threshold)
    _require_handing_over(mode, {"--fsp-ratio": fsp_ratio, "--middle": middle})
    named = [find_artifact(one, Run(run)) for one in what]
    process.share_the_machine()
    from ticketcli.exports.explained import Search
    from ticketcli.exports.explained_images import Asked
    from ticketcli.exports.explaining import Order, explain_all
    from ticketcli.exports.subject import Subject

    subjects = [
        Subject(ref, one.artifact, lineage(one.run, one.step, one.artifact.name))
        for ref, one in zip(what, named, strict=True)
    ]
    told = listeners("explain", quiet=quiet)

    def tell(event: Event) -> None:
        for listener in told:
            listener.on(event)

    search = Search(target, mode, guard, ratio, border, sweeps, threshold, batch, fsp_ratio, middle)  # type: ignore[arg-type]
    asked = Asked(tuple(images or ()), count, side)
    order = Order(subjects, asked, search, to, Sources(data_dir, download, workers, tell), device, keeps_gates=gates)
    try:
        account = explain_all(order)
    finally:
        for listener in told:
            listener.close()
    if as_json:
        print(json.dumps(account))
        return
    from ticketcli.report.explained import explained_text

    print(explained_text(account, str(to)))


def _require_sense(mode: str, guard: str, threshold: float) -> None:
    """Refuse before anything heavy is loaded."""
    for flag, given, known in (("--mode", mode, _MODES), ("--guard", guard, _GUARDS)):
        if given not in known:
            raise UsageError(f"{flag} is '{given}'", where=flag, hint=f"one of {', '.join(known)}")
    if not 0 < threshold <= 1:
        raise UsageError(f"--threshold is {threshold:g}", where="--threshold", hint="a share above 0, at most 1")


def _require_handing_over(mode: str, given: Mapping[str, object]) -> None:
    for flag, value in given.items():
        if value is not None and mode != "fsp-fr":
            raise UsageError(f"{flag} says nothing to --mode {mode}", where=flag, hint="--mode fsp-fr, or leave it out")
