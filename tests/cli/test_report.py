"""`ticket report` on a real run: formats, half-finished and stale runs, folders that no recipe made."""

import csv
import io
import json
import re
import shutil
from dataclasses import replace

import pytest

from tests.cli.command_line import TINY, ticket, write
from ticketcli.stage import STAGES


def rows(result):
    assert result.code == 0, result
    return {row["label"]: row for row in json.loads(result.out)["tables"][0]["rows"]}


def test_csv_and_json_say_the_same(finished):
    lines = list(csv.DictReader(io.StringIO(ticket("report", "--run", finished.root, "--format", "csv").out)))
    found = rows(ticket("report", "--run", finished.root, "--format", "json"))
    assert {line["arm"]: float(line["test.top1"]) for line in lines} == {
        label: row["metrics"]["test.top1"]["mean"] for label, row in found.items()
    }
    assert {line["seed"] for line in lines} == {"0"}


def test_a_ticket_is_told_with_what_it_adds_and_its_healed_psnr(finished):
    found = rows(ticket("report", "--run", finished.root, "--json"))
    assert found["ours/3"]["metrics"]["bytes"]["mean"] < 50_000 < found["imp/3"]["metrics"]["bytes"]["mean"]
    healed = finished.manifest("ours@seed=0").units["healed-03"].metrics["healed_before"]["psnr"]
    assert found["ours/3"]["metrics"]["ticket.psnr"]["mean"] == healed
    assert found["ours/healed"]["metrics"]["ticket.psnr"]["mean"] == healed


def test_markdown_names_no_folder(finished, tiny_recipe):
    page = ticket("report", "--run", finished.root, "--format", "markdown").out
    assert "`ticket run tiny.yaml`" in page
    assert not re.search(r"(^|\s|`)/\w", page)
    assert str(tiny_recipe.parent) not in page


def test_an_unknown_format_is_refused(finished):
    result = ticket("report", "--run", finished.root, "--format", "pdf")
    assert result.code == 2
    assert "text, markdown, csv, json" in result.err


def test_other_tables_need_no_other_run(finished):
    asked = "report={table: [ours, imp], at: [0.4, 0.9], metric: healed.top1, against: imp}"
    result = ticket("report", asked, "--run", finished.root, "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(result.out)))
    assert [(line["step"], line["sparsity_asked"]) for line in lines] == [("ours@seed=0", "0.4"), ("imp@seed=0", "0.4")]
    ours = finished.manifest("ours@seed=0").units
    low, high = (ours[name].metrics["healed_before"]["top1"] for name in ("round-03", "healed-03"))
    share = (0.4 - ours["round-02"].metrics["sparsity"]) / (
        ours["round-03"].metrics["sparsity"] - ours["round-02"].metrics["sparsity"]
    )
    assert float(lines[0]["healed.top1"]) == pytest.approx(low + share * (high - low))


def test_the_tables_of_another_recipe_file(finished, tmp_path):
    other = write(tmp_path / "other.yaml", TINY.split("report:")[0] + "report: {table: again}\n")
    assert len(rows(ticket("report", "--run", finished.root, "--recipe", other, "--json"))) == 1


def test_without_a_report_block_every_transfer_and_evaluation_has_a_table(finished, tmp_path):
    bare = write(tmp_path / "bare.yaml", TINY.split("report:")[0])
    tables = json.loads(ticket("report", "--run", finished.root, "--recipe", bare, "--json").out)["tables"]
    assert [(table["name"], len(table["rows"])) for table in tables] == [("target", 4), ("worth", 1), ("again", 1)]


def test_a_half_finished_run_shows_what_there_is(copy):
    (copy.step_folder("target@arm=imp-3,seed=0") / "manifest.json").unlink()
    result = ticket("report", "--run", copy.root)
    assert result.code == 0, result
    assert "Not there yet: target@arm=imp-3,seed=0 (missing, not made yet)." in result.out
    assert "ours/3, less imp/3, top-1: no pair yet." in result.out


def test_results_of_other_settings_are_not_shown_as_this_recipes(copy):
    result = ticket("report", "target.lr=0.3", "--run", copy.root)
    assert result.code == 0, result
    assert "(stale, lr was 0.02, now 0.3)" in result.out
    assert "%" not in result.out.splitlines()[1]


def test_manifests_alone_are_enough(copy):
    before = rows(ticket("report", "--run", copy.root, "--json"))
    for path in copy.root.rglob("*.safetensors"):
        path.unlink()
    assert rows(ticket("report", "--run", copy.root, "--json")) == before


def test_seeds_of_two_machines_have_one_table(copy, tiny_recipe, tmp_path):
    """Brought home without what is large, and laid side by side."""
    other = tmp_path / "other"
    assert ticket("run", tiny_recipe, "for_each.seed=[1]", "--run", other, "-q").code == 0
    for path in [*other.rglob("*.json"), *other.rglob("*.mask.safetensors")]:
        home = copy.root / path.relative_to(other)
        if home.parent != copy.root:  # recipe.json is each run's own
            home.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, home)
    both = ("--recipe", tiny_recipe, "for_each.seed=[0, 1]", "--json")
    found = rows(ticket("report", "--run", copy.root, *both))
    each = [rows(ticket("report", "--run", run, "--json")) for run in (copy.root, other)]
    for label, row in found.items():
        one = row["metrics"]["test.top1"]
        assert one["n"] == 2
        assert one["mean"] == pytest.approx(sum(part[label]["metrics"]["test.top1"]["mean"] for part in each) / 2)


def test_results_of_another_version_of_a_stage_are_shown_and_told(finished, monkeypatch):
    newer = replace(STAGES["transfer"], version=STAGES["transfer"].version + 1)
    before = rows(ticket("report", "--run", finished.root, "--json"))
    monkeypatch.setitem(STAGES, "transfer", newer)
    assert rows(ticket("report", "--run", finished.root, "--json")) == before
    assert "Made by version 1 of stage transfer; the present one, 2," in ticket("report", "--run", finished.root).out


def test_a_folder_of_stage_commands_has_a_table_too(copy):
    (copy.root / "recipe.json").unlink()
    result = ticket("report", "--run", copy.root)
    assert result.code == 0, result
    assert "target@arm=ours-3,seed=0" in result.out
    assert "Command:" not in result.out


def test_an_empty_folder_has_nothing_to_report(tmp_path):
    assert ticket("report", "--run", tmp_path).code == 5
