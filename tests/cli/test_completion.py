"""What Tab offers, asked as the shells ask."""

import os
import shlex
import subprocess
import sys

import pytest

from tests.cli.command_line import ticket
from tests.cli.test_start import HEAVY, start
from ticketcli.cli.app import COMMANDS
from ticketcli.cli.completion import rejoin
from ticketcli.cli.recipe_file import shipped


@pytest.fixture
def offers(monkeypatch, tmp_path):
    """Line -> what bash is offered at its end, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_TICKET_COMPLETE", "complete_bash")

    def ask(line, n_words=None):
        given = shlex.split(line)
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(given) - (not line.endswith(" ")) if n_words is None else n_words))
        result = ticket()
        assert result.err == ""
        return result.out.split()

    return ask


def test_commands_and_groups_are_offered(offers):
    assert offers("ticket ") == list(COMMANDS)
    assert offers("ticket pr") == ["pretrain", "prune"]
    assert offers("ticket recipes ") == ["ls", "cat", "cp"]
    assert "compare" in offers("ticket masks ")
    assert offers("ticket no-such-command --") != ["error"]


def test_flags_and_their_words_are_offered(offers):
    assert {"--rounds", "--rewind", "--resume"} <= set(offers("ticket prune --r"))
    assert offers("ticket prune --criterion ") == [
        "magnitude", "random", "lobs", "lobs_refit", "obc", "sparsegpt", "wanda", "obd", "apoz",
        "l1", "l2", "bn_scale", "scop", "feedback",
    ]  # fmt: skip
    assert offers("ticket prune --first-finetune ") == ["true", "false"]
    assert offers("ticket pretrain --resume m") == ["must"]
    assert offers("ticket report --format ") == ["text", "markdown", "csv", "json"]


def test_recipes_are_offered_by_name_and_as_files(offers, tmp_path):
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "lambda.yaml").touch()
    known = sorted(shipped())
    assert offers("ticket run ") == [*known, "mine.yaml", "studies/lambda.yaml"]
    assert offers("ticket run ./m") == ["./mine.yaml"]
    assert offers("ticket run studies/") == ["studies/lambda.yaml"]
    assert offers("ticket recipes cat ") == known
    assert offers("ticket recipes cp f") == ["fashion"]
    assert offers("ticket run paper/c") == ["paper/classification", "paper/coco", "paper/controls"]
    assert "mine.yaml" in offers("ticket validate ")


def test_steps_and_outputs_of_the_run_are_offered(offers, finished):
    run = f"--run {finished.root}"
    assert offers(f"ticket inspect {run} ") == finished.steps()
    assert offers(f"ticket verify {run} ") == finished.steps()
    assert set(offers(f"ticket inspect {run} ours@seed=0/")) == {
        f"ours@seed=0/{name}" for name in ("1", "2", "3", "healed")
    }
    compared = offers(f"ticket masks compare {run} ours@seed=0/1 ")
    assert "imp@seed=0" in compared
    assert "dense@seed=0" not in compared


def test_a_flag_for_an_input_offers_steps_of_its_kind_and_its_words(offers, finished):
    run = f"--run {finished.root}"
    assert offers(f"ticket prune {run} --encoder ") == ["dense@seed=0", "dense@seed=0/dense"]
    assert offers(f"ticket prune {run} --decoder ") == ["dec@seed=0", "dec@seed=0/decoder"]
    assert {"none", "init", "dense@seed=0/3it"} <= set(offers(f"ticket prune {run} --rewind "))


def test_a_damaged_run_or_none_at_all_offers_nothing_and_says_nothing(offers, copy):
    assert offers("ticket inspect --run nowhere ") == []
    (copy.step_folder("dense@seed=0") / "manifest.json").write_text("{")
    assert "ours@seed=0" in offers(f"ticket inspect --run {copy.root} ")
    assert offers(f"ticket inspect --run {copy.root} dense") == []
    assert offers("ticket run no-such-folder/") == []


def test_bash_gets_back_what_is_left_of_a_name_that_it_took_to_pieces(offers, finished):
    run = f"--run {finished.root}"
    assert offers(f"ticket inspect {run} ours @ s", 6) == [
        "@seed=0",
        *(f"@seed=0/{n}" for n in ("healed", "1", "2", "3")),
    ]
    assert offers(f"ticket inspect {run} target @ arm =", 7) == [
        "dense,seed=0", "imp-3,seed=0", "ours-3,seed=0", "ours-healed,seed=0",
    ]  # fmt: skip
    assert offers("ticket prune --resume = m", 4) == ["must"]


@pytest.mark.parametrize(
    ("given", "at", "expected"),
    [
        (["t", "run"], 1, (["t", "run"], 1, "")),
        (["t", "a", "@", "s"], 3, (["t", "a@s"], 1, "a")),  # bash replaces `@s`
        (["t", "a", "@"], 2, (["t", "a@"], 1, "a")),
        (["t", "a", "@", "s", "="], 4, (["t", "a@s="], 1, "a@s=")),
        (["t", "a", "@", "s", "=", "0", "b"], 6, (["t", "a@s=0", "b"], 2, "")),
        (["t", "--run", "=", "x"], 3, (["t", "--run=x"], 1, "--run=")),
        (["t", "--run", "=", "x"], 4, (["t", "--run=x"], 2, "")),
        (["t", "a@s=0"], 1, (["t", "a@s=0"], 1, "")),  # a user whose COMP_WORDBREAKS leaves these out
        (["t", "a", "@", "s", "more"], 3, (["t", "a@s"], 1, "a")),  # the cursor is not at the end
    ],
)
def test_words_are_put_together_again(given, at, expected):
    assert rejoin(given, at) == expected


@pytest.mark.parametrize("line", ["ticket ", "ticket run ", "ticket prune --", "ticket masks compare "])
def test_completion_loads_no_torch(line, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_TICKET_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split())))
    start(HEAVY)


def test_zsh_and_fish_are_answered_too(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "ticket recipes cat d")
    monkeypatch.setenv("_TICKET_COMPLETE", "complete_zsh")
    assert '"demo":"The whole method' in ticket().out
    monkeypatch.setenv("_TICKET_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    assert ticket().out.startswith("demo\tThe whole method")


@pytest.mark.parametrize(("shell", "file"), [("bash", ".bash_completions/ticket.sh"), ("zsh", ".zfunc/_ticket")])
def test_completion_can_be_installed(shell, file, tmp_path):
    code = "import sys; sys.argv = ['ticket', *sys.argv[1:]]\nfrom ticketcli.cli.app import main; main()"
    environment = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, "--install-completion", shell],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "_TICKET_COMPLETE" in (tmp_path / file).read_text()
