import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ticketcli.cli.app import COMMANDS
from ticketcli.stage import STAGES

HEAVY = ("torch", "torchvision", "sklearn", "scipy")
CODE = """
import sys
from ticketcli.cli.app import main
sys.argv = ["ticket", *sys.argv[2:]]
try:
    main()
except SystemExit as done:
    assert not done.code, done.code
finally:
    heavy = set(sys.argv[0:0]) | ({heavy} & set(sys.modules))
    assert not heavy, heavy
"""


def start(heavy, *arguments):
    code = CODE.replace("{heavy}", repr(set(heavy)))
    done = subprocess.run(
        [sys.executable, "-c", code, "-", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_the_first_screen_loads_nothing_heavy_not_even_numpy_or_pydantic(arguments):
    assert start((*HEAVY, "numpy", "pydantic", "yaml", "safetensors"), *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("prune", "--help"),
        ("recipes", "ls"),
        ("validate", "demo"),
        ("run", "demo", "--dry-run"),
        ("doctor", "--help"),
        ("slurm", "render", "demo"),
        ("slurm", "submit", "demo", "--dry-run"),
    ],
)
def test_planning_loads_no_torch(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert start(HEAVY, *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("inspect", "ours@seed=0"),
        ("verify", "--old"),
        ("gc",),
        ("masks", "compare", "ours@seed=0", "imp@seed=0"),
    ],
)
def test_looking_at_a_run_loads_no_torch(arguments, finished):
    assert start(HEAVY, *arguments, "--run", finished.root)


def test_reporting_loads_no_torch(finished):
    assert start(("torch", "torchvision", "sklearn"), "report", "--run", finished.root)


def test_the_summaries_of_stages_are_the_stages_own():
    for name, spec in STAGES.items():
        assert spec.summary.split(";")[0].split(",")[0] in COMMANDS[name][1]


def test_every_command_has_a_module_and_help():
    for name in COMMANDS:
        assert "Usage" in start(HEAVY, name, "--help")


def test_help_is_grouped_and_lists_every_command():
    text = start((), "--help")
    positions = [re.search(rf"^\W+{name} ", text, re.MULTILINE).start() for name in COMMANDS]
    assert positions == sorted(positions)
    assert "unofficial" in re.sub(r"\s+", " ", text)


def test_python_m_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "ticketcli", "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"ticket \d+\.\d+\.\d+\n", done.stdout)


def test_only_typer_is_asked_for_its_click():
    """Typer ships a click of its own since 0.29; importing another would be a dependency that nobody declared."""
    source = "".join(path.read_text() for path in Path(__file__).parents[2].glob("ticketcli/**/*.py"))
    assert "import click" not in source
    assert typer
