"""`ticket evaluate --localize` on the finished tiny run: scenes of the digits that its networks know."""

import html
import io
import json
import shutil

import pytest
from PIL import Image

from tests.cli.command_line import ticket
from ticketcli.cli import drive
from ticketcli.stopping import StopRequest
from ticketcli.store.run_folder import Run

SCENES = "{name: scenes, classes: 0-2, count: 8, methods: [fr, gradient, gradcam, centre, whole]}"
DENSE, OURS = "dense@seed=0", "ours@seed=0/healed"


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    folder = Run(tmp_path_factory.mktemp("localize") / "run")
    shutil.copytree(finished.root, folder.root)
    return folder


def localize(run, of, *flags, on=SCENES, name="looks"):
    return ticket("evaluate", "--of", of, "--localize", on, *flags, "--name", name, "--run", run.root)


@pytest.fixture(scope="module")
def beside(run):
    result = localize(run, OURS, "--beside", DENSE, "--pictures", "3", name="beside")
    assert result.code == 0, result
    return result


def test_every_method_is_measured_with_intervals_and_beside_another_network(run, beside):
    metrics = run.manifest("beside").units["metrics"].metrics
    assert metrics["localization_of"]["images"] == 8
    assert metrics["localization_of"]["beside"] == DENSE
    for method in ("fr", "gradient", "gradcam"):
        one = metrics["localization"][method]
        for measure in ("gt_error", "top1_error", "pointing", "iou"):
            low, high = one[f"{measure}_interval"]
            assert 0 <= low <= one[measure] <= high <= 1
            assert one["less"][measure] == pytest.approx(one[measure] - one["beside"][measure])
    assert 0 < metrics["localization"]["fr"]["shared"]["all"] < 1
    for words in (
        f"less {DENSE}",
        "GT-known error",
        "layer4.0.relu",
        "came to an end",
        "fr shared",
        "8 images of scenes",
    ):
        assert words in beside.out, words


def test_a_ticket_localizes_as_an_evaluation_of_its_accuracy_finds_it(run, beside):
    plain = ticket("evaluate", "--of", OURS, "--name", "plain", "--run", run.root, "-q")
    assert plain.code == 0
    alone, looked = (run.manifest(name).units["metrics"].metrics for name in ("plain", "beside"))
    assert {**alone, **looked} == looked, "all else is measured as without"
    assert "localization" not in alone


def test_its_pictures_are_sheets_that_the_page_shows_in_a_section_of_their_own(run, beside, tmp_path):
    sheet = run.step_folder("beside") / "localized-1.png"
    assert Image.open(io.BytesIO(sheet.read_bytes())).width > 600
    assert ticket("verify", "--run", run.root).code == 0
    copy = shutil.copytree(run.root, tmp_path / "run")
    (copy / "recipe.json").unlink()
    assert ticket("report", copy, "--page", tmp_path / "out").code == 0
    page = html.unescape((tmp_path / "out" / "report.html").read_text())
    for words in ("Where networks look", "GT-known localisation error: 8 images of scenes", f"Where it looks: {OURS}",
                  f"{OURS} less {DENSE}", "Gates of"):  # fmt: skip
        assert words in page, words
    figures = [path.name for path in (tmp_path / "out" / "figures").glob("*localized*")]
    assert figures == ["beside-localized-1.svg"], "no other section shows them again"
    assert (tmp_path / "out" / "figures" / "localization-gt-error.svg").is_file()


def test_the_same_again_is_fresh_and_other_settings_are_not(run, beside):
    again = localize(run, OURS, "--beside", DENSE, "--pictures", "3", "--dry-run", name="beside")
    assert again.out.startswith("beside: fresh")
    other = localize(
        run, OURS, "--beside", DENSE, "--pictures", "3", "--dry-run", "--localize.sweeps", "1", name="beside"
    )
    assert other.out.startswith("beside: stale, localize.sweeps was 10, now 1")


def test_a_network_beside_itself_is_not_compared(run):
    result = localize(run, DENSE, "--beside", DENSE, on="{name: scenes, classes: 0-2, count: 2, methods: [gradient]}")
    assert result.code == 0, result
    assert "beside" not in run.manifest("looks").units["metrics"].metrics["localization_of"]


def test_it_may_be_stopped_between_two_batches_and_comes_to_the_same(run, beside, monkeypatch):
    polls = []

    class Request(StopRequest):
        def stepped(self):
            polls.append(None)

        @property
        def reason(self):
            return "the test" if len(polls) == 4 else ""

    flags = ("--batch", "4", "--resume", "auto")
    assert localize(run, OURS, *flags, name="straight").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(drive, "StopRequest", Request)
        stopped = localize(run, OURS, *flags, name="cut")
    assert stopped.code == 75, stopped
    assert localize(run, OURS, *flags, name="cut").code == 0
    straight, cut = ((run.step_folder(name) / "metrics.json").read_bytes() for name in ("straight", "cut"))
    assert straight == cut


def test_tables_can_have_its_measures(run, tmp_path):
    recipe = json.loads((run.root / "recipe.json").read_text())["text"].partition("report:")[0]
    recipe = recipe.replace("worth: {stage: evaluate, of: ours/healed, decoder: dec}",
                            f"worth: {{stage: evaluate, of: ours/healed, localize: {SCENES}}}")  # fmt: skip
    table = (
        "report: {table: worth, metric: [localization.fr.gt_error, localization.fr.top1_error, localization.fr.iou]}\n"
    )
    (tmp_path / "r.yaml").write_text(recipe + table)
    copy = shutil.copytree(run.root, tmp_path / "run")
    result = ticket("run", tmp_path / "r.yaml", "--run", copy)
    assert result.code == 0, result
    assert "GT-known error" in result.out
    assert "top-1 error" in result.out
    assert "%" in result.out


@pytest.mark.parametrize(
    ("of", "flags", "on", "words"),
    [
        (DENSE, (), "digits", "there are no outlined objects on these images"),
        (DENSE, (), "{name: scenes, classes: 5-7}", "the network knows none of the set's classes"),
        (DENSE, (), "{name: scenes, names: {'9': nine}}", "the network has no class 'nine'"),
        (DENSE, (), "{name: scenes, methods: [cam]}", "should be 'fr', 'fsp'"),
        (DENSE, (), "{name: scenes, methods: [fr], fsp_ratio: 1}", "fsp_ratio is for fsp-fr and fsp-fr-unguarded"),
        (DENSE, (), "{name: scenes, methods: [fsp], middle: relu}", "middle is for fsp-fr and fsp-fr-unguarded"),
        (DENSE, (), "{name: scenes, methods: []}", "methods are listed twice, or there are none"),
        (DENSE, (), "{name: scenes, thresold: 1}", "did you mean 'threshold'?"),
        (DENSE, ("--beside", "target@arm=dense,seed=0"), SCENES, "knows other classes than dense@seed=0"),
        (DENSE, ("--beside", "target@arm=dense,seed=0"), "", "beside is for pictures, and for localize"),
    ],
)
def test_what_cannot_be_localized_is_refused_before_anything_is_measured(run, of, flags, on, words):
    where = ("--localize", on) if on else ()
    result = ticket("evaluate", "--of", of, *where, *flags, "--name", "refused", "--run", run.root)
    assert result.code == 2, result
    assert words in result.err
