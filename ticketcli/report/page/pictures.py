"""Pictures that the run holds: what was found on images, and what was rebuilt of them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

from ticketcli.disk import read_regular
from ticketcli.errors import TicketError
from ticketcli.figures.figure import Figure, Raster
from ticketcli.recipe.recipe import RecipeStep
from ticketcli.report.page.section import Block, Drawn, Names, Section, Words
from ticketcli.report.page.subject import Subject
from ticketcli.store.manifest import FileRecord

_WIDEST = 1700  # pixels: a sheet is narrower; more are not seen on any window
_HEAVIEST = 700_000  # bytes of a picture that is left as it is
_MOST_BYTES = 50_000_000
_MOST_PIXELS = 60_000_000
_MOST = 24  # pictures of a run
LOCALIZED = "localized"  # what pictures of maps begin with; a section of their own shows them


def pictures(subject: Subject, names: Names) -> Section | None:
    """Every picture that an evaluation has written, but those that another section shows; None without evaluations."""
    steps = [step for step in subject.recipe.steps if step.stage == "evaluate"]
    blocks = drawn_pictures(subject, names)
    if not steps or (not blocks and any(_files(subject, step) for step in steps)):
        return None
    if not blocks:
        why = "No evaluation of this run drew pictures: `pictures: N` in an evaluate step draws so many test images."
        return Section("pictures", "Pictures", (Words(why, is_absence=True),))
    return Section("pictures", "Pictures", tuple(blocks))


def drawn_pictures(subject: Subject, names: Names, beginning: str = "") -> list[Block]:
    """The pictures whose file names have this beginning; without one, those of none that another section shows."""
    steps = [step for step in subject.recipe.steps if step.stage == "evaluate"]
    found = [
        (step, role, file) for step in steps for role, file in sorted(_files(subject, step).items())
        if (role.startswith(beginning) if beginning else not role.startswith(LOCALIZED))
    ]  # fmt: skip
    blocks: list[Block] = []
    for step, role, file in found[:_MOST]:
        try:
            raster = _raster(file.locate(subject.run.step_folder(step.name)))
        except TicketError as error:
            blocks.append(Words(f"{step.name}, {role}: {error.what}.", is_absence=True))
            continue
        title, told = next((words for start, words in _KINDS.items() if role.startswith(start)), _FOUND)
        facts = (*subject.facts("1 network each", "none"), ("Step", step.name), ("File", role))
        title = f"{title}: {step.config.of}"  # type: ignore[attr-defined]
        blocks.append(Drawn(Figure(names.take(step.name, Path(role).stem), title, told, facts, raster)))
    if len(found) > _MOST:
        blocks.append(Words(f"{len(found) - _MOST} further pictures lie in the run folder."))
    return blocks


# What a file's name begins with -> what it shows, and how to read it.
_KINDS = {
    "rebuilt": (
        "What is rebuilt",
        "Images of the test part, what the decoder rebuilds of them from each network's features, and the error. "
        "The scale of the error stands on the sheet.",
    ),
    LOCALIZED: (
        "Where it looks",
        "Images and a class on each, at equal distances among all rows, so that nobody has chosen them; the maps of "
        "each network, and the boxes that they give at the threshold that the other half of the images has chosen.",
    ),
}
_FOUND = (
    "What is found",
    "Test images with what each network found in them; where two networks are compared, the greatest losses first.",
)


def _files(subject: Subject, step: RecipeStep) -> Mapping[str, FileRecord]:
    units = subject.found.units.get(step.name, {}).values()
    return {role: file for unit in units for output in unit.outputs for role, file in output.files.items()
            if role.endswith(".png")}  # fmt: skip


def _raster(path: Path) -> Raster:
    """A picture that is fit for a page.

    Raises:
        TicketError: it is gone, too large, or no picture.
    """
    data = read_regular(path, limit=_MOST_BYTES)
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=("PNG",))
            if image.width * image.height > _MOST_PIXELS:
                raise TicketError("the picture is too large for a page")
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError,
            Image.DecompressionBombWarning) as error:  # fmt: skip
        raise TicketError(f"it is no picture that can be shown ({type(error).__name__})") from None
    if image.width <= _WIDEST and len(data) <= _HEAVIEST:
        return Raster(data, "image/png", image.width, image.height)
    shown = image.convert("RGB")
    if shown.width > _WIDEST:
        shown = shown.resize((_WIDEST, round(shown.height * _WIDEST / shown.width)), Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    shown.save(packed, "JPEG", quality=88, optimize=True)
    return Raster(packed.getvalue(), "image/jpeg", shown.width, shown.height)
