"""What the documents tell people to type is typed here, as far as it goes without computing."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.command_line import ticket
from ticketcli.cli.app import COMMANDS
from ticketcli.stage import STAGES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


def readme_commands():
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("ticket ")]


def test_the_readme_names_every_command():
    named = {line.split()[1] for line in readme_commands()}
    assert named == set(COMMANDS)


@pytest.mark.parametrize("line", [line for line in readme_commands() if line.split()[1] in (*STAGES, "run")])
def test_commands_of_the_readme_can_be_typed(line, finished, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    if "RECIPE" in line:
        return
    run = finished.root if line.split()[1] != "run" else tmp_path
    words = shlex.split(line)[1:]
    given = {
        "train-decoder": ["--encoder", "dense@seed=0"],
        "prune": ["--encoder", "dense@seed=0", "--decoder", "dec@seed=0"],
        "rewind": ["--ticket", "ours@seed=0"],
        "transfer": ["--ticket", "ours@seed=0"],
        "evaluate": [],
    }.get(words[0], [])
    words = [word.replace("transfer", "target@arm=dense,seed=0") if words[0] == "evaluate" else word for word in words]
    result = (
        ticket(*words, *given, "--run", run, "--name", "typed", "--dry-run")
        if words[0] != "run"
        else ticket(*words, "--run", run, "--dry-run")
    )
    assert result.code == 0, result


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_usable_and_opens_with_the_command_that_runs_it(path, tmp_path):
    text = path.read_text()
    assert text.startswith("# ")
    assert f"#   ticket run recipes/{path.relative_to(ROOT / 'recipes')}" in text
    assert ticket("run", path, "--run", tmp_path, "--dry-run").code == 0
    assert ticket("validate", path).code == 0


def test_all_recipes_are_shipped():
    listed = [line.split()[0] for line in ticket("recipes", "ls").out.splitlines()]
    assert listed == [path.stem for path in RECIPES]
    assert ticket("recipes", "cat", "demo").out == (ROOT / "recipes" / "demo.yaml").read_text()


def test_the_readmes_recipe_is_usable(tmp_path):
    block = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "r.yaml").write_text(block[1])
    assert ticket("validate", tmp_path / "r.yaml").code == 0


def test_the_readmes_sweep_and_tables_are_usable(tmp_path):
    recipe, sweep, report = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    steps = "".join(line for line in recipe.splitlines(keepends=True) if not line.startswith("  t:"))
    (tmp_path / "r.yaml").write_text(steps + sweep + report)
    result = ticket("validate", tmp_path / "r.yaml")
    assert result.code == 0, result
    for override in ("for_each.seed=[0,1]", "t.for_each.task=[high]"):
        assert f"`{override}`" in README
        assert ticket("validate", tmp_path / "r.yaml", override).code == 0


@pytest.mark.parametrize("page", sorted((ROOT / "recipes" / "results").glob("*")), ids=lambda page: page.name)
def test_a_page_of_results_is_of_a_recipe_that_is_there_and_names_no_folder(page):
    text = page.read_text()
    assert page.stem in {path.stem for path in RECIPES}
    assert re.search(rf"`ticket run (recipes/)?{page.stem}(\.yaml)?[ `]", text)
    assert not re.search(r"(^|[\s`=])/\w", text)


def test_exit_codes_of_the_readme_are_those_of_the_errors():
    from ticketcli import errors

    codes = {
        kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TicketError)
    }
    told = {int(code) for code in re.findall(r"(\d+) [a-z]", re.search(r"Exit codes: (.*?)\n\n", README, re.DOTALL)[1])}
    assert told == codes | {0, 130}


def test_nobody_calls_it_official():
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "pyproject.toml"):
        for found in re.finditer(r"(\S*)official", path.read_text()):
            assert found[1].endswith("un"), path
