"""The study as `make reproduce-small` runs it, cut to minutes: every arm, round, target and question."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command_line import ticket
from ticketcli.cli.recipe_file import load_recipe

ROOT = Path(__file__).parents[2]
RECIPE = load_recipe((ROOT / "recipes" / "study.yaml").read_text(), "study")


def test_every_arm_of_the_study_has_its_own_dense_network_in_every_seed():
    arms = ("ours", "plain", "imp-rec", "imp", "feat", "untrained", "random", "order")
    for arm in arms:
        steps = RECIPE.instances[arm]
        assert [step.refs["encoder"].step for step in steps] == [f"dense@seed={seed}" for seed in range(2, 10)]
    assert {step.config.lambda_ for arm in ("plain", "imp", "order") for step in RECIPE.instances[arm]} == {0}


def test_order_differs_from_plain_in_the_order_of_data_alone():
    for plain, order in zip(RECIPE.instances["plain"], RECIPE.instances["order"], strict=True):
        assert order.config.model_copy(update={"seed": plain.config.seed}) == plain.config
        assert order.config.seed not in {step.config.seed for step in RECIPE.instances["plain"]}


def test_all_arms_are_transferred_with_the_same_settings():
    for target in ("pixels", "images", "nuclei", "objects"):
        settings = {step.config.model_copy(update={"ticket": "", "seed": 0}) for step in RECIPE.instances[target]}
        assert len(settings) == 1


def test_the_seeds_of_the_pilot_are_in_no_analysis():
    assert {0, 1, 100, 101}.isdisjoint(step.variables["seed"] for step in RECIPE.steps)


def test_make_computes_the_seeds_of_the_recipe_in_two_halves():
    halves = re.search(r"^HALVES_full +:= (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    seeds = [int(number) for number in re.findall(r"\d+", halves[1])]
    assert sorted(seeds) == sorted({step.variables["seed"] for step in RECIPE.steps})


@pytest.mark.slow
@pytest.mark.timeout(1600)
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_study_is_reproduced_small_in_minutes_and_continues(tmp_path):
    command = [
        "make", "-o", f"{sys.prefix}/.installed-study", "reproduce-small", "SCALE=smoke",
        f"VENV={sys.prefix}", f"STUDY={tmp_path / 'study'}",
    ]  # fmt: skip
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False)
    assert first.returncode == 0, first.stderr[-3000:]
    assert first.stdout.index("Time:") < first.stdout.index("What the recipe asks")
    page = (tmp_path / "study" / "study.md").read_text()
    for name in RECIPE.contrasts:
        assert f"| {name} |" in page
    assert "unfinished" not in page.lower()
    assert "Not there yet" not in page
    assert "What the recipe asks" in (tmp_path / "study" / "page" / "report.html").read_text()
    again = ticket("report", "--run", tmp_path / "study", "--format", "markdown")
    assert again.out.strip() == page.strip()
