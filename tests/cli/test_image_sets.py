"""Image sets on disk, through the command line: where they are looked up, and what happens when files are bad."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.command_line import digests, ticket
from tests.data.files import folder, noise, save
from ticketcli.cli import drive
from ticketcli.data import sets
from ticketcli.stopping import StopRequest
from ticketcli.store.run_folder import Run

QUICK = ("--batch", "8", "--epochs", "2ep", "--milestones", "")


def pretrain(run, data, *flags):
    return ticket("pretrain", "--data", data, *QUICK, "--run", run, *flags)


def manifest(run, name="pretrain"):
    return Run(run).manifest(name)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    base = tmp_path_factory.mktemp("data")
    folder(base / "pets", each=10)
    for k in range(20):
        save(base / "heap" / f"{k}.png", noise(40, 40, k))
    return base


def test_the_data_folder_is_a_flag_or_the_environment_or_data_here(root, tmp_path, monkeypatch):
    assert pretrain(tmp_path / "a", "folder:pets", "--data-dir", root).code == 0
    monkeypatch.setenv("TICKET_DATA", str(root))
    assert pretrain(tmp_path / "b", "folder:pets").code == 0
    monkeypatch.delenv("TICKET_DATA")
    (tmp_path / "data").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    assert pretrain(tmp_path / "c", "folder:pets").code == 0
    assert digests(Run(tmp_path / "a")) == digests(Run(tmp_path / "b")) == digests(Run(tmp_path / "c"))


def test_where_the_files_lie_and_how_many_workers_read_them_makes_nothing_stale(root, tmp_path):
    assert pretrain(tmp_path, "folder:pets", "--data-dir", root, "--workers", "1").code == 0
    again = pretrain(tmp_path, "folder:pets", "--data-dir", tmp_path, "--workers", "0")
    assert again.code == 0
    assert "pretrain: fresh" in again.err


@pytest.mark.parametrize("workers", ["0", "2"])
def test_training_reads_files_on_the_fly_with_any_number_of_workers_alike(root, tmp_path, workers, monkeypatch):
    from ticketcli.data import lazy

    flags = ("--data-dir", root, "--augment", "resized-crop")
    wanted = pretrain(tmp_path / "a", "folder:pets", *flags, "--workers", "0")
    monkeypatch.setattr(lazy, "MEMORY_BYTES", 0)
    found = pretrain(tmp_path / "b", "folder:pets", *flags, "--workers", workers)
    assert wanted.code == found.code == 0
    assert digests(Run(tmp_path / "a")) == digests(Run(tmp_path / "b"))


def test_a_run_records_what_it_rests_on(root, tmp_path):
    assert pretrain(tmp_path, "folder:pets", "--data-dir", root, "--image-size", "40").code == 0
    unit = manifest(tmp_path).units["dense"]
    found = dict(unit.metrics["images"])
    assert len(found.pop("files")) == 16
    assert found == {"train": 18, "validation": 2, "test": 20, "skipped": 0}
    assert unit.outputs[0].about["image_size"] == 40
    assert unit.outputs[0].about["class_names"] == ["cat", "dog"]


def test_a_missing_set_ends_with_code_5_and_leaves_nothing(tmp_path):
    result = pretrain(tmp_path / "run", "cifar10", "--data-dir", tmp_path)
    assert result.code == 5
    assert "the image set 'cifar10' is not here" in result.err
    assert "--download" in result.err
    assert not (tmp_path / "run" / "pretrain").exists()


@pytest.mark.parametrize("augment", ["crop-flip", "resized-crop"])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_broken_image_ends_with_code_6_and_its_name(tmp_path, augment, workers):
    folder(tmp_path / "pets", each=10)
    for path in (tmp_path / "pets" / "train" / "cat").iterdir():
        path.write_bytes(path.read_bytes()[:150])
    flags = ("--data-dir", tmp_path, "--augment", augment, "--workers", workers)
    result = pretrain(tmp_path / "run", "folder:pets", *flags)
    assert result.code == 6
    assert str(tmp_path / "pets" / "train" / "cat") in result.err
    assert "data.broken: skip" in result.err
    assert "Traceback" not in result.err


def test_broken_images_are_counted_and_left_out_when_that_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder(tmp_path / "pets", each=10)
    (tmp_path / "pets" / "train" / "cat" / "003.png").write_bytes(b"")
    flags = ("--data.broken", "skip", "--data-dir", tmp_path)
    result = ticket("pretrain", "--data.name", "folder:pets", *QUICK, *flags, "--run", tmp_path / "run")
    assert result.code == 0, result
    assert "1 broken image is left out, the first is train/cat/003.png" in result.err
    assert manifest(tmp_path / "run").units["dense"].metrics["images"]["skipped"] == 1


def test_what_has_no_classes_trains_a_decoder_but_no_classifier(root, tmp_path, copy):
    refused = pretrain(tmp_path, "images:heap", "--data-dir", root)
    assert refused.code == 2
    assert "the images have no classes to learn" in refused.err
    flags = (
        "--encoder",
        "dense@seed=0",
        "--data",
        "images:heap",
        "--data-dir",
        root,
        "--name",
        "blind",
        "--run",
        copy.root,
    )
    result = ticket("train-decoder", "--batch", "8", "--epochs", "1ep", "--milestones", "", *flags)
    assert result.code == 0, result
    found = copy.manifest("blind").units["decoder"].metrics["validation"]
    assert "psnr" in found
    assert "top1" not in found


def test_a_target_without_test_images_is_refused_before_anything_is_trained(tmp_path, copy):
    folder(tmp_path / "pets", parts=("train", "val"), each=4)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / "test" / name).mkdir(parents=True)
    flags = ("--ticket", "dense@seed=0", "--data", "folder:pets", "--data-dir", tmp_path, "--name", "new")
    result = ticket("transfer", *flags, "--epochs", "1it", "--milestones", "", "--run", copy.root)
    assert result.code == 2, result
    assert "no test images are left" in result.err


def test_what_cannot_be_measured_on_a_set_is_not(root, copy):
    flags = ("--of", "dense@seed=0", "--data", "images:heap", "--data-dir", root, "--name", "new", "--run", copy.root)
    empty = ticket("evaluate", *flags)
    assert empty.code == 2
    assert "no test images" in empty.err
    unknown = ticket("evaluate", *flags, "--split", "validation")
    assert unknown.code == 2
    assert "not the classes of this network" in unknown.err
    rebuilt = ticket("evaluate", *flags, "--split", "validation", "--decoder", "dec@seed=0")
    assert rebuilt.code == 0, rebuilt
    assert "top1" not in copy.manifest("new").units["metrics"].metrics


def test_a_transfer_may_work_at_another_size_and_keeps_the_encoders_normalisation(root, copy):
    flags = ("--ticket", "dense@seed=0", "--data", "folder:pets", "--image-size", "48", "--data-dir", root)
    result = ticket(
        "transfer", *flags, "--batch", "8", "--epochs", "1ep", "--milestones", "", "--name", "new", "--run", copy.root
    )
    assert result.code == 0, result
    dense = copy.manifest("dense@seed=0").units["dense"].outputs[0].about
    about = copy.manifest("new").units["task"].outputs[0].about
    assert about["image_size"] == 48
    assert about["normalization"] == dense["normalization"]
    assert ticket("evaluate", "--of", "new", "--data-dir", root, "--name", "worth", "--run", copy.root).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [False, True])
def test_a_run_on_files_is_cut_and_continued_with_other_workers(root, tmp_path, whole_group):
    """The signal may reach the workers too, as a cluster sends it."""
    flags = [
        "--data",
        "folder:pets",
        "--data-dir",
        root,
        "--augment",
        "resized-crop",
        "--batch",
        "4",
        "--epochs",
        "60ep",
    ]
    command = [sys.executable, "-m", "ticketcli", "pretrain", *map(str, flags), "--milestones", "", "--save-every", "0"]
    straight = ticket("pretrain", *flags, "--milestones", "", "--workers", "0", "--run", tmp_path / "a")
    assert straight.code == 0, straight
    process = subprocess.Popen(
        [*command, "--workers", "2", "--run", str(tmp_path / "b")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    state = tmp_path / "b" / "pretrain" / "state"
    for _ in range(600):
        if state.is_dir() and list(state.glob("*.safetensors")):
            break
        time.sleep(0.05)
    else:
        process.kill()
        pytest.fail(f"no state was saved: {process.communicate()[1]}")
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "Traceback" not in said
    rest = ticket("pretrain", *flags, "--milestones", "", "--workers", "1", "--run", tmp_path / "b")
    assert rest.code == 0, rest
    assert "resume" in rest.err
    assert digests(Run(tmp_path / "a")) == digests(Run(tmp_path / "b"))


@pytest.fixture
def growing(tmp_path):
    """A folder of images, and a function that puts one more into it."""
    folder(tmp_path / "data" / "pets", each=10)

    def grow():
        save(tmp_path / "data" / "pets" / "train" / "cat" / "later.png", noise(40, 40, 99))
        sets._whole.cache_clear()  # another process would have none
        sets._splits.cache_clear()

    return tmp_path, grow


def test_a_cut_training_does_not_go_on_with_other_images(growing, monkeypatch):
    base, grow = growing
    flags = ("--data-dir", base / "data", "--workers", "0")

    class Impatient(StopRequest):
        polls = 0

        def stepped(self):
            self.polls += 1

        @property
        def reason(self):
            return "the test" if self.polls > 2 else ""

    with monkeypatch.context() as patch:
        patch.setattr(drive, "StopRequest", Impatient)
        assert pretrain(base / "run", "folder:pets", *flags).code == 75
    states = digests_of(base / "run" / "pretrain" / "state")
    assert states
    grow()
    refused = pretrain(base / "run", "folder:pets", *flags)
    assert refused.code == 3, refused
    assert "folder:pets has other files now than when 'pretrain' was begun" in refused.err
    assert "--resume never" in refused.err
    assert digests_of(base / "run" / "pretrain" / "state") == states
    anew = pretrain(base / "run", "folder:pets", *flags, "--resume", "never")
    assert anew.code == 0, anew


def test_further_rounds_are_refused_with_other_images_and_other_steps_say_so(growing):
    base, grow = growing
    common = ("--data-dir", base / "data", "--workers", "0", "--run", base / "run")
    assert pretrain(base / "run", "folder:pets", "--data-dir", base / "data", "--workers", "0").code == 0

    def prune(name, rounds):
        settings = (
            "--encoder",
            "pretrain",
            "--lambda",
            "0",
            "--finetune",
            "1it",
            "--recalibrate-bn",
            "0",
            "--heal",
            "0ep",
        )
        return ticket("prune", *settings, "--batch", "8", "--rounds", rounds, "--name", name, *common)

    first = prune("ours", 1)
    assert first.code == 0, first
    assert "other files" not in first.err
    grow()
    refused = prune("ours", 2)
    assert refused.code == 3, refused
    assert "folder:pets has other files now than when 'ours' was begun" in refused.err
    assert list(manifest(base / "run", "ours").units) == ["round-01"]
    said = prune("plain", 1)
    assert said.code == 0, said
    assert "plain: folder:pets has other files now than when 'pretrain' was made of it" in said.err


def digests_of(place):
    return {path.name: path.read_bytes() for path in sorted(place.iterdir())}
