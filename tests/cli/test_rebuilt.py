"""`ticket evaluate --decoder D --pictures N`: what a decoder rebuilds, as sheets that the page shows."""

import io
import shutil

import pytest
from PIL import Image

from tests.cli.command_line import ticket


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rebuilt") / "run"
    shutil.copytree(finished.root, folder)
    return folder


def evaluate(run, *flags):
    return ticket("evaluate", "--decoder", "dec@seed=0", *flags, "--run", run)


def sheets(run, name):
    return {path.name: Image.open(io.BytesIO(path.read_bytes())) for path in sorted((run / name).glob("*.png"))}


def test_a_sheet_has_a_row_an_image_and_a_column_more_for_the_network_beside(run):
    assert evaluate(run, "--of", "ours@seed=0/healed", "--pictures", "10", "--name", "alone").code == 0
    both = ("--of", "ours@seed=0/healed", "--beside", "dense@seed=0", "--pictures", "3")
    result = evaluate(run, *both, "--name", "both")
    assert result.code == 0, result
    alone, beside = sheets(run, "alone"), sheets(run, "both")
    assert list(alone) == ["rebuilt-1.png", "rebuilt-2.png"]
    assert list(beside) == ["rebuilt-1.png"]
    assert alone["rebuilt-1.png"].height > alone["rebuilt-2.png"].height
    assert ticket("verify", "--run", run).code == 0
    assert evaluate(run, *both, "--name", "both").err.startswith("both: fresh")


def test_pictures_change_no_measure(run):
    assert evaluate(run, "--of", "dense@seed=0", "--name", "without").code == 0
    assert evaluate(run, "--of", "dense@seed=0", "--pictures", "2", "--name", "with").code == 0
    assert (run / "with" / "metrics.json").read_bytes() == (run / "without" / "metrics.json").read_bytes()


def test_the_page_shows_them(run, tmp_path):
    assert evaluate(run, "--of", "dense@seed=0", "--pictures", "2", "--name", "shown").code == 0
    (run / "recipe.json").unlink()
    assert ticket("report", run, "--page", tmp_path / "out").code == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "What is rebuilt: dense@seed=0" in page
    assert 'src="data:image/png;base64,' in page
    assert [path.name for path in (tmp_path / "out" / "figures").glob("shown-*")] == ["shown-rebuilt-1.svg"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "beside is for pictures"),
        (("--pictures", "1"), "a mask file alone has no values"),
    ],
)
def test_what_cannot_be_shown_is_refused(run, tmp_path, flags, words):
    mask = shutil.copy(run / "ours@seed=0" / "round-01.mask.safetensors", tmp_path)  # of no run, so without values
    result = evaluate(run, "--of", "dense@seed=0", "--beside", mask, *flags, "--name", "x")
    assert result.code in (2, 5)
    assert words in result.err
