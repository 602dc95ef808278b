"""The page itself: the sections of each run, laid out as HTML that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ticketcli.errors import InputMissing
from ticketcli.figures.figure import Figure
from ticketcli.figures.looks import style
from ticketcli.figures.svg import clean
from ticketcli.report.grid import Grid
from ticketcli.report.page.contrasts import answers, contrasts
from ticketcli.report.page.controls import controls
from ticketcli.report.page.costs import costs
from ticketcli.report.page.curves import curves, gradients
from ticketcli.report.page.errors import errors
from ticketcli.report.page.features import features
from ticketcli.report.page.layers import layers
from ticketcli.report.page.localization import localization
from ticketcli.report.page.masks import Masks
from ticketcli.report.page.origins import origins, progress
from ticketcli.report.page.overlaps import overlaps
from ticketcli.report.page.pictures import pictures
from ticketcli.report.page.results import results, rounds
from ticketcli.report.page.section import Block, Names, Section, Shown, runs_of_figures, slug
from ticketcli.report.page.subject import Subject
from ticketcli.report.page.sweeps import sweeps


@dataclass(frozen=True)
class Chapter:
    """One run of a page."""

    subject: Subject
    name: str
    opening: tuple[Block, ...]
    sections: tuple[Section, ...]

    @property
    def figures(self) -> list[Figure]:
        """Its figures, in their order."""
        return [figure for section in self.sections for figure in section.figures]


def chapters(subjects: Sequence[Subject]) -> list[Chapter]:
    """All that the runs hold, in sections."""
    names = Names()
    found = [(subject, names.take("run", subject.name)) for subject in subjects]
    return [
        _chapter(subject, name, names.under(slug(subject.name)) if len(found) > 1 else names) for subject, name in found
    ]


def _chapter(subject: Subject, name: str, names: Names) -> Chapter:
    masks = Masks(subject)
    made = (
        answers(subject),
        results(subject, names),
        contrasts(subject, names),
        rounds(subject, names),
        sweeps(subject, masks, names),
        layers(subject, masks, names),
        errors(subject, names),
        controls(subject, names),
        overlaps(subject, masks, names),
        features(subject, names),
        localization(subject, names),
        pictures(subject, names),
        curves(subject, names),
        gradients(subject, names),
        costs(subject, masks),
        origins(subject),
    )
    return Chapter(subject, name, tuple(progress(subject)), tuple(section for section in made if section is not None))


def overview(made: Sequence[Chapter]) -> Shown:
    """Several runs side by side: how far each is, and what it says of its first measure."""
    rows = []
    for chapter in made:
        subject, steps = chapter.subject, chapter.subject.recipe.steps
        n_done = sum(step.name not in subject.found.lacking for step in steps)
        provenance = subject.report.provenance
        rows.append((subject.name, subject.about, provenance.seed_words(), ", ".join(provenance.days),
                     f"{n_done} of {len(steps)}", str(len(chapter.figures))))  # fmt: skip
    return Shown("Runs", Grid(("run", "what it is", "seeds", "made", "steps done", "figures"), tuple(rows), 4))


def html(made: Sequence[Chapter]) -> str:
    """The page.

    Raises:
        InputMissing: jinja2 is not installed.
    """
    jinja2 = require_jinja()
    from markupsafe import Markup

    folder = files("ticketcli.report.page")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["inline"] = lambda figure: Markup(figure.inline())  # escaped where it is made
    environment.filters["grouped"] = lambda blocks: list(runs_of_figures(blocks))
    template = environment.from_string(folder.joinpath("page.html").read_text("utf-8"))
    names = [chapter.subject.name for chapter in made]
    text = template.render(
        title=", ".join(names), style=Markup(folder.joinpath("page.css").read_text("utf-8") + style()), chapters=made,
        overview=overview(made) if len(made) > 1 else None,
    )  # fmt: skip
    return clean(text)


def require_jinja() -> Any:
    """The package jinja2, which fills in the page.

    Raises:
        InputMissing: it is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        hint = "pip install 'ticketcli[report]'"
        raise InputMissing(f"a page needs jinja2: {error}", where="report", hint=hint) from None
    return jinja2
