"""`ticket report --page`: one file that holds everything, of finished, unfinished, damaged and hostile runs."""

import builtins
import json
import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from tests.cli.command_line import TINY, ticket
from tests.cli.test_start import start

VOID = {"meta", "link", "img", "br", "hr", "input"}
HOSTILE = "</script></title><script>alert(1)</script>\"' onload=x & " + "long " * 80


class Page(HTMLParser):
    """A page read: its elements, whether each was closed, its ids, links and words."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.ids, self.words = [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.elements.append((tag, given))
        self.ids += [given["id"]] if "id" in given else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def named(self, tag):
        return [given for name, given in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def written(*arguments, to):
    result = ticket("report", *arguments, "--page", to)
    assert result.code == 0, result
    return Page((to / "report.html").read_text())


@pytest.fixture(scope="module")
def made(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "out"
    written(finished.root, to=folder)
    return folder


@pytest.fixture(scope="module")
def page(made):
    return Page((made / "report.html").read_text())


def test_every_figure_is_on_the_page_and_is_a_file_that_an_xml_parser_reads(made, page):
    listed = json.loads((made / "summary.json").read_text())["runs"][0]["figures"]
    assert {figure["file"] for figure in listed} == {f"figures/{path.name}" for path in (made / "figures").iterdir()}
    assert {figure["name"] for figure in listed} == {given["id"] for given in page.named("figure")}
    assert len(page.named("svg")) + len(page.named("img")) == len(listed) > 15
    for path in (made / "figures").iterdir():
        assert ET.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_the_page_asks_for_nothing_from_anywhere(made, page):
    text = (made / "report.html").read_text()
    assert "http:" not in text
    assert "https:" not in text
    for tag, given in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action", "poster"):
            assert given.get(name, "#").startswith(("#", "data:")), (tag, given)
        assert not [name for name in given if name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_links_lead_somewhere_and_no_two_places_share_a_name(page):
    assert len(set(page.ids)) == len(page.ids)
    assert {given["href"][1:] for given in page.named("a")} <= set(page.ids)
    assert len(page.named("a")) >= 9
    for name in ("aria-labelledby", "aria-describedby"):
        assert {given[name] for _, given in page.elements if name in given} <= set(page.ids)


def test_pictures_have_words_tables_have_heads_and_captions_their_command(page):
    assert all(given["role"] == "img" for given in page.named("svg"))
    assert all(given.get("alt") for given in page.named("img"))
    assert page.named("html") == [{"lang": "en"}]
    assert all(given["scope"] in ("row", "col") for given in page.named("th"))
    assert page.text.count("ticket run tiny.yaml") >= len(page.named("figure"))


def test_every_part_of_a_run_has_its_section(page):
    for title in ("Results", "Paired differences", "The source, round by round", "Layer by layer", "What the masks share",
                  "Pictures", "Training", "How strong the treatment was", "Sizes and speed", "How it was made"):  # fmt: skip
        assert title in page.words, title


def test_what_a_run_does_not_hold_is_said_and_not_drawn(page):
    assert "No evaluation of this run drew pictures" in page.text
    assert "No step of this run measured latency" in page.text
    assert "No arm has masks of two seeds" in page.text


def test_the_numbers_beside_a_figure_are_those_of_the_table(made, finished):
    (run,) = json.loads((made / "summary.json").read_text())["runs"]
    rows = {row["label"]: row["metrics"]["test.top1"]["mean"] for row in run["tables"][0]["rows"]}
    figure = next(one for one in run["figures"] if one["name"] == "target-top-1")
    shown = {row[0]: row[3] for row in figure["rows"]}
    assert shown == {label: f"{mean:.2%}" for label, mean in rows.items()}


def test_the_same_run_makes_the_same_bytes(finished, made, tmp_path):
    written(finished.root, to=tmp_path / "again")
    for path in made.rglob("*.*"):
        assert (tmp_path / "again" / path.relative_to(made)).read_bytes() == path.read_bytes()


def test_a_name_that_ends_in_html_is_the_page_alone(finished, made, tmp_path):
    result = ticket("report", "--run", finished.root, "--page", tmp_path / "deep" / "one.html", "--json")
    assert json.loads(result.out)["files"] == [str(tmp_path / "deep" / "one.html")]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["one.html"]
    assert (tmp_path / "deep" / "one.html").read_bytes() == (made / "report.html").read_bytes()


def test_several_runs_follow_each_other_and_stand_side_by_side(finished, copy, tmp_path):
    (copy.step_folder("worth@seed=0") / "manifest.json").unlink()
    other = tmp_path / "second"
    shutil.move(copy.root, other)
    page = written(finished.root, other, to=tmp_path / "out")
    assert [given["id"] for given in page.named("article")] == ["run-run", "run-second"]
    assert len(set(page.ids)) == len(page.ids)
    assert "17 of 18" in page.text
    runs = json.loads((tmp_path / "out" / "summary.json").read_text())["runs"]
    assert [run["name"] for run in runs] == ["run", "second"]


def test_runs_of_one_name_are_told_apart_by_their_paths(finished, tmp_path):
    for place in ("a", "b"):
        shutil.copytree(finished.root, tmp_path / place / "run")
    page = written(tmp_path / "a/run", tmp_path / "b/run", to=tmp_path / "out")
    assert {"a/run", "b/run"} <= set(page.words)
    again = ticket("report", tmp_path / "a/run", tmp_path / "a/run", "--page", tmp_path / "out")
    assert (again.code, "named twice" in again.err) == (2, True)


def test_an_unfinished_run_has_a_page_that_says_what_is_missing(copy, tmp_path):
    for step in ("target@arm=imp-3,seed=0", "again@arm=ours-3,seed=0", "plain@seed=0"):
        (copy.step_folder(step) / "manifest.json").unlink()
    log = copy.metrics_path("imp@seed=0")
    log.write_bytes(log.read_bytes()[:-40])  # cut in the middle of a line, as a kill may leave it
    page = written(copy.root, to=tmp_path / "out")
    assert "Unfinished: 15 of 18 steps are done." in page.text
    assert "target@arm=imp-3,seed=0 (missing, not made yet)" in page.text
    assert "Training of imp" in page.text


def test_a_run_that_has_hardly_begun_has_a_page(copy, tmp_path):
    for path in copy.root.iterdir():
        if path.is_dir() and not path.name.startswith("dense"):
            shutil.rmtree(path)
    page = written(copy.root, to=tmp_path / "out")
    assert "Unfinished: 1 of 18" in page.text
    assert "No mask is there yet." in page.text
    assert "nothing was measured yet, so there is no figure" in page.text


def test_damaged_masks_logs_and_manifests_are_named_and_the_rest_is_there(copy, tmp_path):
    gone = copy.step_folder("plain@seed=0") / "round-02.mask.safetensors"
    gone.write_bytes(gone.read_bytes()[:200])
    copy.metrics_path("ours@seed=0").write_bytes(b'{"event": "progress"\n')
    (copy.step_folder("dec@seed=0") / "manifest.json").write_text("{}")
    page = written(copy.root, to=tmp_path / "out")
    assert "plain, replicate 0, round 2: cannot use this file" in page.text
    assert "The curve of ours@seed=0 is not shown: line 1 is damaged" in page.text
    assert "dec@seed=0 (the manifest is damaged" in page.text
    assert "Layer by layer" in page.words


def hostile(copy):
    words = json.dumps(HOSTILE)
    text = f"# {HOSTILE}\n" + TINY.replace("compare:", f"labels: {{ours/3: {words}, dense: {words}}}, compare:")
    copy.save_recipe(text, source="<img src=x onerror=alert(1)>.yaml", overrides=[], drops=[])
    return copy.root.rename(copy.root.parent / "<svg onload=alert(1)>&\"'")


def test_words_of_a_hostile_run_are_words(copy, tmp_path):
    page = written("--run", hostile(copy), to=tmp_path / "out")
    assert not page.named("script")
    assert not [given for _, given in page.elements if any(name.startswith("on") for name in given)]
    assert "<script>alert(1)</script>" in page.text
    for path in (tmp_path / "out" / "figures").iterdir():
        tags = {one.tag.rpartition("}")[2] for one in ET.parse(path).getroot().iter()}
        assert not tags & {"script", "foreignObject", "a"}
        assert re.fullmatch(r"[a-z0-9-]{1,70}\.svg", path.name)


def test_a_picture_that_is_none_or_is_a_bomb_is_named_and_left_out(copy, tmp_path, monkeypatch):
    from ticketcli.report.page import pictures

    folder = copy.step_folder("worth@seed=0")
    file = next(iter(copy.manifest("worth@seed=0").units["metrics"].outputs)).files["metrics"]
    monkeypatch.setattr(pictures, "_files", lambda subject, step: {"x.png": file, "y.png": file})
    page = written(copy.root, to=tmp_path / "out")
    assert "worth@seed=0, x.png: it is no picture that can be shown" in page.text
    assert folder.is_dir()


def test_figures_of_an_earlier_page_are_told(finished, made, tmp_path):
    shutil.copytree(made, tmp_path / "out")
    (tmp_path / "out" / "figures" / "older.svg").write_text("<svg/>")
    result = ticket("report", finished.root, "--page", tmp_path / "out")
    assert result.code == 0
    assert "1 figures of an earlier page are still there: older.svg" in result.err
    assert (tmp_path / "out" / "figures" / "older.svg").exists()


def test_a_page_takes_the_place_of_no_file(finished, tmp_path):
    (tmp_path / "out").write_text("mine")
    result = ticket("report", finished.root, "--page", tmp_path / "out")
    assert (result.code, "no folder" in result.err) == (2, True)
    assert (tmp_path / "out").read_text() == "mine"


def test_without_jinja_the_error_says_what_to_install(finished, tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.partition(".")[0] == "jinja2":
            raise ImportError("No module named 'jinja2'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    result = ticket("report", finished.root, "--page", tmp_path / "out")
    assert result.code == 5
    assert "pip install 'ticketcli[report]'" in result.err
    assert not (tmp_path / "out").exists()


def test_a_page_is_made_without_torch(finished, tmp_path):
    assert start(("torch", "torchvision", "sklearn", "matplotlib"), "report", finished.root, "--page", tmp_path / "out")


def test_overrides_and_runs_are_told_apart_by_the_equals_sign(finished):
    asked = "report={table: ours, metric: healed.top1}"
    both = ticket("report", finished.root, asked, "--format", "json")
    assert json.loads(both.out) == json.loads(ticket("report", asked, "--run", finished.root, "--json").out)
    assert len(json.loads(both.out)["tables"][0]["rows"]) == 4


def test_a_folder_with_an_equals_sign_is_named_with_run(copy, tmp_path):
    copy.root.rename(tmp_path / "lr=0.1")
    refused = ticket("report", tmp_path / "lr=0.1")
    assert (refused.code, "--run" in refused.err) == (2, True)
    assert ticket("report", "--run", tmp_path / "lr=0.1").code == 0


def test_several_runs_are_printed_after_each_other(finished, tmp_path):
    shutil.copytree(finished.root, tmp_path / "second")
    shown = ticket("report", finished.root, tmp_path / "second").out
    assert shown.count("Paired difference in target top-1") == 2
    assert f"== {tmp_path / 'second'} ==" in shown
    found = json.loads(ticket("report", finished.root, tmp_path / "second", "--json").out)
    assert [run["run"] for run in found["runs"]] == [str(finished.root), str(tmp_path / "second")]
    assert ticket("report", finished.root, tmp_path / "second", "--format", "csv").code == 2


def test_a_run_that_is_not_there_is_told_and_nothing_is_written(finished, tmp_path):
    result = ticket("report", finished.root, tmp_path / "nowhere", "--page", tmp_path / "out")
    assert result.code == 5
    assert "nowhere" in result.err
    assert not (tmp_path / "out").exists()
