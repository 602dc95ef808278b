"""TensorBoard shows what `metrics.jsonl` says: read back with TensorBoard's own reader."""

import json
import signal
from itertools import pairwise

import pytest

from tests.cli.command_line import digests, ticket
from tests.cli.test_crash import begin, wait_for
from ticketcli.board import Board, Curves, require_tensorboard
from ticketcli.errors import UsageError
from ticketcli.events import JsonLines, Measured, Progress
from ticketcli.store.run_folder import Run

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def shown(step_folder):
    """Tag -> [(step, value), ...] as TensorBoard has it."""
    reader = event_accumulator.EventAccumulator(str(step_folder / "tensorboard"), size_guidance={"scalars": 0})
    reader.Reload()
    return {tag: [(one.step, one.value) for one in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def events(n_rounds=3, length=120):
    for number in range(1, n_rounds + 1):
        yield Measured("gradients", {"unit": f"round-{number:02d}", "ratio": number / 2})
        for done in range(1, length + 1):
            yield Progress(f"round {number}/{n_rounds}, finetune", done, length, {"loss": number + done / length})
        yield Measured("unit", {"unit": f"round-{number:02d}", "sparsity": 0.2 * number, "test": {"top1": 0.9}})


def write(folder, said, *, offset=0):
    lines = JsonLines(folder / "metrics.jsonl", mirror=Board(folder))
    lines.cut(offset)
    for event in said:
        lines.on(event)
    return lines


def test_the_rounds_follow_each_other_and_each_is_a_point_of_what_was_measured(tmp_path):
    write(tmp_path, events()).close()
    found = shown(tmp_path)
    assert [step for step, _ in found["train/loss"]] == [50, 100, 120, 170, 220, 240, 290, 340, 360]
    assert found["train/loss"][3][1] == pytest.approx(2 + 50 / 120)
    assert found["gradients/ratio"] == [(1, 0.5), (2, 1.0), (3, 1.5)]
    assert found["unit/sparsity"] == [(n, pytest.approx(0.2 * n)) for n in (1, 2, 3)]
    assert found["unit/test/top1"] == [(n, pytest.approx(0.9)) for n in (1, 2, 3)]


@pytest.mark.parametrize("cut_at", [0, 60, 119, 121, 200, 250, 365])
def test_a_cut_anywhere_leaves_the_curves_of_an_uninterrupted_run(tmp_path, cut_at):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    write(whole, events()).close()
    said = list(events())
    begun = write(cut, said[:cut_at])
    offset = begun.offset
    for event in said[cut_at : cut_at + 70]:  # after the state was saved, before the process died
        begun.on(event)
    begun.close()
    write(cut, said[cut_at:], offset=offset).close()
    assert shown(cut) == shown(whole)
    assert (cut / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_files_do_not_pile_up(tmp_path):
    for _ in range(5):
        write(tmp_path, events(n_rounds=1)).close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    assert len(shown(tmp_path)["unit/sparsity"]) == 1


def test_one_who_watched_before_the_cut_forgets_what_was_cut_away(tmp_path):
    begun = write(tmp_path, events())
    watching = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"scalars": 0})
    watching.Reload()
    begun.close()
    write(tmp_path, [Measured("unit", {"unit": "round-01", "sparsity": 0.5})]).close()
    watching.Reload()
    assert [(one.step, one.value) for one in watching.Scalars("unit/sparsity")] == [(1, 0.5)]


def test_the_same_training_begun_again_does_not_go_back_in_steps():
    curves = Curves()
    line = {"event": "progress", "what": "train", "done": 5, "total": 5, "loss": 1.0}
    assert [list(curves.scalars(line)) for _ in range(2)] == [[("train/loss", 5, 1.0)], [("train/loss", 10, 1.0)]]


def test_words_truths_and_lists_are_no_scalars():
    line = {"event": "unit", "unit": "a", "name": "x", "good": True, "none": None, "list": [1], "n": 3}
    assert list(Curves().scalars(line)) == [("unit/n", 1, 3.0)]


def test_a_full_disk_ends_the_mirror_and_not_the_run(tmp_path, capsys):
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    lines = write(tmp_path, events())
    lines.close()
    assert capsys.readouterr().err.count("no TensorBoard from here on") == 1
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3 * 5


def test_a_missing_package_is_said_before_anything_is_done(monkeypatch, tmp_path, tiny_recipe):
    monkeypatch.setattr("ticketcli.board.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="TensorBoard is not installed"):
        require_tensorboard()
    for words in (("run", tiny_recipe), ("pretrain", "--data", "digits")):
        result = ticket(*words, "--tensorboard", "--run", tmp_path / "run")
        assert result.code == 2
        assert "pip install tensorboard" in result.err
        assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def mirrored(tiny_recipe, tmp_path_factory):
    """A run that was cut in its second step, and continued, with a mirror."""
    folder = tmp_path_factory.mktemp("mirrored") / "run"
    process = begin(tiny_recipe, folder, "--tensorboard")
    wait_for(process, "weights prunable")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    result = ticket("run", tiny_recipe, "--run", folder, "--tensorboard", "-q")
    assert result.code == 0, result
    return Run(folder)


def test_a_mirrored_run_makes_the_same_bytes_as_any_other(mirrored, finished):
    assert digests(mirrored) == digests(finished)
    for step in finished.steps():
        assert mirrored.metrics_path(step).read_bytes() == finished.metrics_path(step).read_bytes()


def test_every_number_of_the_metrics_is_shown_and_nothing_else(mirrored):
    for step in mirrored.steps():
        lines = [json.loads(line) for line in mirrored.metrics_path(step).read_text().splitlines()]
        losses = [line["loss"] for line in lines if line["event"] == "progress"]
        found = shown(mirrored.step_folder(step))
        curve = found.get("train/loss", [])
        assert [value for _, value in curve] == pytest.approx(losses), step
        assert all(before < after for (before, _), (after, _) in pairwise(curve)), step
        sparsities = [line["sparsity"] for line in lines if line["event"] == "unit" and "sparsity" in line]
        assert [value for _, value in found.get("unit/sparsity", [])] == pytest.approx(sparsities), step


def test_event_files_do_not_disturb_what_is_fresh_or_verified(mirrored, tiny_recipe):
    assert ticket("status", "--check", "--run", mirrored.root).code == 0
    assert ticket("verify", "--run", mirrored.root).code == 0


def test_a_finished_run_can_be_mirrored_afterwards_and_a_stale_step_takes_its_mirror_along(copy, tiny_recipe):
    result = ticket("run", tiny_recipe, "--run", copy.root, "--tensorboard")
    assert result.code == 0, result
    assert len(shown(copy.step_folder("ours@seed=0"))["unit/sparsity"]) == 4
    base = (
        "prune",
        "--encoder",
        "dense@seed=0",
        "--lambda",
        "0",
        "--finetune",
        "1it",
        "--batch",
        "16",
        "--rounds",
        "1",
    )
    step = ("--name", "plain@seed=0", "--run", copy.root)
    assert ticket(*base, *step, "--tensorboard", "-q").code == 0
    assert len(shown(copy.root / ".old" / "plain@seed=0" / "001")["unit/sparsity"]) == 4
    assert len(shown(copy.step_folder("plain@seed=0"))["unit/sparsity"]) == 2
