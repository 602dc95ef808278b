"""`precision: auto` is settled once for a step: what goes on elsewhere goes on in the precision that it began with."""

import pytest

from tests.cli.command_line import digests, ticket
from tests.cli.test_cuts import cut as cut
from ticketcli.execution import machine
from ticketcli.store.run_folder import Run

PRETRAIN = (
    "pretrain", "--data", "{name: digits, classes: [0, 1], per_class: 16}", "--epochs", "2ep", "--milestones", "[]",
    "--batch", "8", "--precision", "auto", "-q",
)  # fmt: skip
PRUNE = ("prune", "--lambda", "0", "--batch", "8", "--finetune", "2it", "--heal", "0ep", "--precision", "auto",
         "--recalibrate-bn", "0", "-q")  # fmt: skip


@pytest.fixture
def processor(monkeypatch):
    """A function that exchanges the processor: for one that multiplies bf16 faster than fp32, or not."""
    return lambda fast: monkeypatch.setattr(machine, "fast_bf16", lambda: fast)


def precisions(run, step):
    return {name: unit.environment["precision"] for name, unit in run.manifest(step).units.items()}


def test_a_training_that_was_cut_goes_on_in_its_precision_on_another_processor(tmp_path, cut, processor):
    processor(True)
    straight, other = Run(tmp_path / "straight"), Run(tmp_path / "other")
    assert ticket(*PRETRAIN, "--run", straight.root).code == 0
    cut.at, cut.polls = 4, 0
    assert ticket(*PRETRAIN, "--run", other.root).code == 75
    cut.at = None
    processor(False)
    assert ticket(*PRETRAIN, "--run", other.root).code == 0
    assert digests(other) == digests(straight)
    assert precisions(other, "pretrain") == {"dense": "bf16"}
    assert other.manifest("pretrain").config["precision"] == "auto"
    again = ticket(*[word for word in PRETRAIN if word != "-q"], "--run", other.root)
    assert "fresh" in again.err, "what was made is what was asked for"
    plain = Run(tmp_path / "plain")
    assert ticket(*PRETRAIN, "--run", plain.root).code == 0
    assert precisions(plain, "pretrain") == {"dense": "fp32"}
    assert digests(plain) != digests(straight)


def test_further_rounds_are_computed_as_the_first_were(tmp_path, processor):
    run = Run(tmp_path / "run")
    processor(True)
    assert ticket(*PRETRAIN, "--run", run.root).code == 0
    assert ticket(*PRUNE, "--rounds", "1", "--run", run.root).code == 0
    processor(False)
    assert ticket(*PRUNE, "--rounds", "2", "--run", run.root).code == 0
    assert precisions(run, "prune") == {"round-01": "bf16", "round-02": "bf16"}
    never = ticket(*PRUNE, "--rounds", "2", "--run", run.root, "--resume", "never")
    assert never.code == 0, never
    assert precisions(run, "prune") == {"round-01": "fp32", "round-02": "fp32"}
