"""What the documents tell people to type is typed here, as far as it goes without computing."""

import itertools
import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from tests.cli.command_line import ticket
from tests.data.files import noise, save
from ticketcli.cli.app import COMMANDS
from ticketcli.launch.profile import Profile, load_profile
from ticketcli.models.architectures import build_encoder
from ticketcli.stage import STAGES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
THEORY = (ROOT / "ticketcli" / "theory" / "README.md").read_text()
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


def readme_commands():
    blocks = re.findall(r"```sh\n(.*?)```", README + THEORY, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("ticket ")]


def test_the_readme_names_every_command():
    named = {line.split()[1] for line in readme_commands()}
    assert named == set(COMMANDS)


def inline_commands():
    """Commands with flags in the README's sentences, and in those of the recipes."""
    texts = [README, THEORY, *(path.read_text() for path in RECIPES)]
    found = [command for text in texts for command in re.findall(r"`(ticket [^`]*)`", text)]
    return sorted({command for command in found if " --" in command and not command.startswith("ticket --")})


def outlined(folder):
    """A set of one image with one object, in COCO's format."""
    square = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0,
              "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]}  # fmt: skip
    save(folder / "images" / "a.png", noise(8, 8, 0))
    for part in ("train", "val"):
        image = {"id": 1, "file_name": "a.png", "width": 8, "height": 8}
        whole = {"images": [image], "annotations": [square], "categories": [{"id": 1, "name": "square"}]}
        (folder / f"instances_{part}.json").write_text(json.dumps(whole))
    return folder


def typed(line, folder):
    """The words of a documented command, in the names of the tiny run; placeholders get a meaning."""
    line = (
        line.replace("RECIPE [step.key=value ...]", "demo ours.rounds=12")
        .replace("RECIPE ...", "demo fashion")
        .replace("RECIPE", "demo")
    )
    line = line.replace("WHAT", "ours@seed=0").replace("A B ...", "ours@seed=0 imp@seed=0 random@seed=0")
    line = line.replace("--of transfer", "--of target@arm=dense,seed=0").replace("--estimate", "--dry-run")
    line = line.replace("--of ticket-coco --beside dense-coco", 2 * "--of target@arm=dense,seed=0 ")
    line = line.replace("--of prune/healed", "--of ours@seed=0/healed")
    line = line.replace("--of prune/7", "--of ours@seed=0/3").replace("--decoder train-decoder", "--decoder dec@seed=0")
    line = line.replace("--beside pretrain", "--beside dense@seed=0").replace("report RUN ... ", "report ")
    line = line.replace("--page F", f"--page {folder}/F")
    if line.startswith("ticket data check"):
        line = f"ticket data check {outlined(folder / 'set')}"
    line = line.replace("scenes --to DIR", f"scenes --images 2 --to {folder / 'written'}")
    line = line.replace("union A B --to ", f"union ours@seed=0 imp@seed=0 --to {folder}/")
    line = line.replace("site.yaml", str(folder / "site.yaml"))
    line = line.replace("inspect prune/7", "inspect ours@seed=0/3").replace(
        "export prune/healed", "export ours@seed=0/healed"
    )
    line = line.replace("export transfer", "export target@arm=ours-3,seed=0")
    line = line.replace("explain pretrain prune/healed", "explain dense@seed=0 ours@seed=0/healed --count 1")
    line = re.sub(r"--to (net|seven|looked)", rf"--to {folder}/\1", line)
    words = shlex.split(line)[1:]
    if "--bundle" in words:
        words = ["export", "--help"]  # no transfer of the run left its backbone frozen
    inputs = {
        "train-decoder": ["--encoder", "dense@seed=0"],
        "prune": ["--encoder", "dense@seed=0", "--decoder", "dec@seed=0"],
        "rewind": ["--ticket", "ours@seed=0"],
        "transfer": ["--ticket", "ours@seed=0"],
        "compact": ["ours@seed=0"],
    }
    if words[0] in STAGES:
        return [*words, *inputs.get(words[0], []), "--name", "typed", "--dry-run"]
    also = {
        "run": ["--dry-run"],
        "slurm": ["--dry-run"],
        "doctor": ["--help"],
        "bench": ["--list"],
        "theory": ["--help"],
        "explain": ["--help"],
    }  # what doctor finds depends on the machine
    return [*words, *also.get(words[0], [])]


@pytest.mark.parametrize("line", [*readme_commands(), *inline_commands()])
def test_every_command_of_the_documents_can_be_typed(line, finished, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    (tmp_path / "site.yaml").write_text(SITE)
    words = typed(line, tmp_path)
    elsewhere = ["--run", tmp_path / "run"]
    where = {
        "run": elsewhere,
        "slurm": elsewhere,
        "recipes": [],
        "validate": [],
        "data": [],
        "bench": [],
        "theory": [],
    }.get(words[0], ["--run", finished.root])
    result = ticket(*words, *where)
    assert result.code == 0, result


def test_the_readme_names_no_command_that_does_not_exist():
    for command in re.findall(r"`ticket ([a-z][a-z-]*)", README):
        assert command in COMMANDS, command


def header_commands(path):
    """What the comment at the top of a recipe says to type."""
    head = itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    return [line.lstrip("# ") for line in head if re.match(r"#\s+ticket ", line)]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_usable_and_opens_with_the_command_that_runs_it(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "site.yaml").write_text(SITE)
    assert path.read_text().startswith("# ")
    commands = header_commands(path)
    assert commands[0] == f"ticket run recipes/{path.relative_to(ROOT / 'recipes')}"
    for command in commands:
        result = ticket(*typed(command, tmp_path), "--run", tmp_path / "run")
        assert result.code == 0, result
    result = ticket("validate", path)
    assert result.code == 0, result
    assert not (tmp_path / "run").exists()


def test_as_many_recipes_are_shipped_as_lie_in_the_folder():
    listed = [one["name"] for one in json.loads(ticket("recipes", "ls", "--json").out)["recipes"]]
    assert listed == sorted(path.relative_to(ROOT / "recipes").with_suffix("").as_posix() for path in RECIPES)
    assert len(RECIPES) == len(list((ROOT / "recipes").rglob("*.y*ml"))) > 0
    assert ticket("validate", *listed).out.count(", good\n") == len(RECIPES)
    assert ticket("recipes", "cat", "demo").out == (ROOT / "recipes" / "demo.yaml").read_text()


def yaml_blocks():
    """The README's recipe, sweep, site, tables and questions."""
    return re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


SITE = yaml_blocks()[2]


def test_the_readmes_recipe_is_usable(tmp_path):
    (tmp_path / "r.yaml").write_text(yaml_blocks()[0])
    assert ticket("validate", tmp_path / "r.yaml").code == 0


def test_the_readmes_sweep_tables_and_questions_are_usable(tmp_path):
    recipe, sweep, _, report, contrasts = yaml_blocks()
    steps = "".join(line for line in recipe.splitlines(keepends=True) if not line.startswith("  t:"))
    (tmp_path / "r.yaml").write_text(steps + sweep + report + contrasts)
    result = ticket("validate", tmp_path / "r.yaml")
    assert result.code == 0, result
    for override in ("for_each.seed=[0,1]", "t.for_each.task=[high]"):
        assert f"`{override}`" in README
        assert ticket("validate", tmp_path / "r.yaml", override).code == 0


def test_the_readmes_python_trains_a_ticket_whose_zeros_stay(finished, monkeypatch, tmp_path):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    made = ticket("rewind", "--ticket", "ours@seed=0/3", "--name", "rewound", "--run", finished.root)
    assert made.code == 0, made
    for documented, here in (("run/rewind", "rewound"), ("run/prune/round-07", "ours@seed=0/round-03")):
        assert documented in code
        code = code.replace(documented, f"{finished.root}/{here}")
    model = build_encoder("resnet_small", n_classes=3, seed=1)
    exec(code, found := {"model": model})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    before = [weight.detach().clone() for weight in model.parameters()]
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(2, 3, 32, 32)).sum().backward()
        optimizer.step()
    weights = dict(model.named_parameters())
    assert sum(int((~bits).sum()) for bits in found["mask"].values()) > 0
    assert all(not weights[name][torch.from_numpy(~bits)].any() for name, bits in found["mask"].items())
    assert any(not torch.equal(was, now) for was, now in zip(before, model.parameters(), strict=True))


def test_the_readmes_site_says_all_that_a_site_can(tmp_path):
    (tmp_path / "site.yaml").write_text(SITE)
    site = load_profile(tmp_path / "site.yaml")
    said = site.model_fields_set | site.stages["prune"].model_fields_set
    assert said | {"qos", "constraint"} == set(Profile.model_fields)


RESULTS = ROOT / "recipes" / "results"
PAGES = sorted(page for page in RESULTS.rglob("*.md") if page.parent != RESULTS / "bench")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_of_results_is_of_a_recipe_that_is_there_and_names_no_folder(page):
    text = page.read_text()
    assert page.stem in {path.stem for path in RECIPES}
    assert re.search(rf"`ticket run (recipes/)?([a-z]+/)?{page.stem}(\.yaml)?[ `]", text)
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
