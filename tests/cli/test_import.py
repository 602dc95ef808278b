import urllib.error

import pytest
import torch
from safetensors.torch import save_file

from tests.cli.command_line import ticket
from ticketcli.models.architectures import build_encoder
from ticketcli.store.manifest import write_manifest
from ticketcli.store.run_folder import Run
from ticketcli.tensors.files import copy_of, read_checkpoint


@pytest.fixture
def weights(tmp_path):
    """A file of small weights as somebody's data-parallel training left it."""
    model = build_encoder("resnet_small", n_classes=4, seed=5)
    saved = {f"module.{name}".replace("fc.", "linear."): value for name, value in copy_of(model).items()}
    torch.save({"epoch": 9, "state_dict": saved}, tmp_path / "theirs.pth")
    return tmp_path / "theirs.pth"


def imported(*arguments, run):
    return ticket("import", *arguments, "--run", run, "-q")


def test_a_file_becomes_a_dense_checkpoint_that_says_what_was_changed(tmp_path, weights):
    result = imported(weights, "--arch", "resnet_small", "--data", "digits", run=tmp_path / "run")
    assert result.code == 0, result
    found = read_checkpoint(tmp_path / "run/import/dense.safetensors")
    expected = build_encoder("resnet_small", n_classes=4, seed=5).state_dict()
    assert found.tensors.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.tensors.items())
    about = found.about
    assert (about["arch"], about["image_size"], len(about["class_names"])) == ("resnet_small", 32, 4)
    assert about["normalization"] == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    assert about["imported"]["changes"] == ["'module.' taken away", "'linear.' became 'fc.'"]


def test_the_same_import_is_fresh_and_a_changed_file_makes_it_stale(tmp_path, weights):
    arguments = (weights, "--arch", "resnet_small", "--run", tmp_path / "run")
    assert ticket("import", *arguments).code == 0
    assert "fresh" in ticket("import", *arguments).err
    state = torch.load(weights, weights_only=True)
    state["state_dict"]["module.conv1.weight"][0] = 1.0
    torch.save(state, weights)
    again = ticket("import", *arguments)
    assert "stale, its source" in again.err
    assert again.code == 0


def test_what_follows_finds_the_imported_net(tmp_path, weights):
    run = tmp_path / "run"
    data = "{name: digits, classes: [0, 1, 2, 3], per_class: 20}"
    assert imported(weights, "--arch", "resnet_small", "--data", data, run=run).code == 0
    done = ticket(
        "prune",
        "--loss",
        "cls",
        "--rounds",
        "1",
        "--finetune",
        "1it",
        "--batch",
        "16",
        "--heal",
        "0ep",
        "--run",
        run,
        "-q",
    )
    assert done.code == 0, done
    assert Run(run).manifest("prune").inputs["refs"]["encoder"] == "import"


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (("--arch", "resnet_smal"), 2, "did you mean 'resnet_small'?"),
        ((), 2, "a file does not say its architecture"),
        ((), 2, "gunn:DESCRIPTION, timm:NAME"),
        (("--arch", "resnet_small", "--mean", "0.5,0.5,0.5"), 2, "mean and std go together"),
        (("--arch", "resnet_small", "--mean", "0.5,0.5", "--std", "1,1"), 2, "needs three values"),
    ],
)
def test_a_file_that_cannot_be_taken_in_is_refused_and_nothing_is_written(tmp_path, weights, change, code, words):
    result = imported(weights, *change, run=tmp_path / "run")
    assert (result.code, words in result.err) == (code, True), result
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_weights_of_another_architecture_name_what_does_not_fit(tmp_path):
    state = build_encoder("resnet_small", n_classes=4, seed=5).state_dict()
    save_file({**state, "layer9.weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    result = imported(tmp_path / "w.safetensors", "--arch", "resnet_small", run=tmp_path / "run")
    assert result.code == 6
    assert "1 left over: layer9.weight" in result.err


def test_weights_without_a_head_need_a_number_of_classes(tmp_path):
    state = {n: v for n, v in build_encoder("resnet_small", n_classes=4, seed=5).state_dict().items() if "fc" not in n}
    save_file(state, tmp_path / "w.safetensors")
    arguments = (tmp_path / "w.safetensors", "--arch", "resnet_small")
    refused = imported(*arguments, run=tmp_path / "run")
    assert "these weights have no classifier" in refused.err
    assert imported(*arguments, "--n-classes", "7", run=tmp_path / "run").code == 0
    assert read_checkpoint(tmp_path / "run/import/dense.safetensors").tensors["fc.weight"].shape[0] == 7


def test_names_of_another_library_are_matched_by_order_when_asked(tmp_path):
    model = build_encoder("resnet_small", n_classes=4, seed=5).state_dict()
    torch.save(
        {f"_{place}.{name.rpartition('.')[2]}": v for place, (name, v) in enumerate(model.items())}, tmp_path / "w.pth"
    )
    arguments = (tmp_path / "w.pth", "--arch", "resnet_small", "--n-classes", "4")
    assert imported(*arguments, run=tmp_path / "run").code == 6
    assert imported(*arguments, "--match", "order", run=tmp_path / "run").code == 0
    found = read_checkpoint(tmp_path / "run/import/dense.safetensors")
    assert all(torch.equal(value, model[name]) for name, value in found.tensors.items())
    assert found.about["imported"]["changes"] == ["names matched by order"]


def test_diverged_weights_are_refused(tmp_path):
    state = build_encoder("resnet_small", n_classes=4, seed=5).state_dict()
    state["fc.bias"][0] = float("nan")
    save_file(dict(state), tmp_path / "w.safetensors")
    result = imported(tmp_path / "w.safetensors", "--arch", "resnet_small", run=tmp_path / "run")
    assert "'fc.bias' is not finite" in result.err
    assert not list((tmp_path / "run").rglob("dense.safetensors"))


def test_offline_says_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))

    def offline(*_arguments, **_settings):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    result = imported("torchvision:resnet18", run=tmp_path / "run")
    assert result.code == 5, result
    for words in ("resnet18-f37072fd.pth", str(tmp_path / "hub"), "ticket import FILE --arch resnet18"):
        assert words in result.err


def test_published_weights_are_taken_from_the_librarys_cache(tmp_path, monkeypatch):
    """The real code path of torchvision: cache folder, hash check, categories and preset."""
    import hashlib

    from torchvision import models

    folder = tmp_path / "hub/hub/checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(models.resnet18().state_dict(), folder / "made.pth")
    digest = hashlib.sha256((folder / "made.pth").read_bytes()).hexdigest()[:8]
    (folder / "made.pth").rename(folder / f"resnet18-{digest}.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    weights = models.ResNet18_Weights.IMAGENET1K_V1
    fake = type(weights.value)(f"https://somewhere/resnet18-{digest}.pth", weights.transforms, weights.meta)
    monkeypatch.setattr(weights, "_value_", fake)
    result = imported("torchvision:resnet18", run=tmp_path / "run")
    assert result.code == 0, result
    about = read_checkpoint(tmp_path / "run/import/dense.safetensors").about
    assert (about["class_names"][0], len(about["class_names"]), about["image_size"]) == ("tench", 1000, 224)
    assert about["imported"]["source"] == "torchvision:resnet18@IMAGENET1K_V1"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("torchvision:resnet51", "did you mean"),
        ("torchvision:resnet18@IMAGENET1K_V9", "did you mean 'IMAGENET1K_V1'?"),
        ("timm:resnot18", "did you mean"),
    ],
)
def test_an_unknown_name_is_told_what_is_close(tmp_path, source, words):
    result = imported(source, run=tmp_path / "run")
    assert (result.code, words in result.err) == (2, True), result


def test_a_step_that_waits_for_a_file_says_so_in_a_dry_run_and_fails_in_a_real_one(tmp_path):
    arguments = ("import", tmp_path / "later.pth", "--arch", "resnet_small", "--run", tmp_path / "run")
    assert "waits for the file" in ticket(*arguments, "--dry-run").out
    result = ticket(*arguments)
    assert result.code == 5
    assert "later.pth, which is not there" in result.err


def test_a_file_is_looked_up_from_here_and_the_images_in_the_data_folder(tmp_path, weights, monkeypatch):
    (tmp_path / "sets").mkdir()
    weights.rename(tmp_path / "sets" / "theirs.pth")
    monkeypatch.chdir(tmp_path)
    arguments = ("import", "--arch", "resnet_small", "--data-dir", "sets", "--run", "run")
    result = ticket(*arguments, "theirs.pth")
    assert result.code == 5
    assert "the file theirs.pth, which is not there" in result.err
    assert (
        "try: put it there, or name it as source: relative to here or absolute; --data-dir is for image sets"
        in result.err
    )
    assert ticket(*arguments, "./sets/theirs.pth").code == 0


def test_what_waits_for_another_step_says_what_to_do(copy):
    changed = copy.manifest("dense@seed=0").model_copy(update={"units": {}})
    write_manifest(copy.step_folder("dense@seed=0"), changed)
    result = ticket("prune", "--encoder", "dense@seed=0", "--lambda", "0", "--name", "new", "--run", copy.root)
    assert result.code == 5, result
    assert "waits for dense@seed=0" in result.err
    assert "try: make that first" in result.err


def test_a_file_that_is_gone_after_its_import_stops_nothing(tmp_path, weights):
    (tmp_path / "r.yaml").write_text(
        "schema: 1\nsteps:\n"
        f"  dense: {{stage: import, source: {weights}, arch: resnet_small, data: {{name: digits, classes: 0-3, per_class: 20}}}}\n"
        "  worth: {stage: evaluate, of: dense}\n"
    )
    command = ("run", tmp_path / "r.yaml", "--run", tmp_path / "run")
    first = ticket(*command, "--json")
    assert first.code == 0, first
    weights.unlink()
    again = ticket(*command)
    assert again.code == 0, again
    assert "2 fresh" in again.err
    assert "Not there yet" not in ticket("report", "--run", tmp_path / "run").out
    anew = ticket(*command, "--resume", "never")
    assert anew.code == 5, anew


def test_an_estimate_of_a_file_that_is_not_there_names_it(tmp_path):
    (tmp_path / "r.yaml").write_text(
        "schema: 1\nsteps:\n  dense: {stage: import, source: ./no.pth, arch: resnet_small}\n"
    )
    result = ticket("run", tmp_path / "r.yaml", "--estimate", "--run", tmp_path / "run")
    assert (result.code, "no such file" in result.err) == (5, True), result


def test_a_number_of_classes_that_the_head_contradicts_is_refused(tmp_path, weights):
    result = imported(weights, "--arch", "resnet_small", "--n-classes", "10", run=tmp_path / "run")
    assert "these weights have 4 classes, n_classes says 10" in result.err


def test_order_is_refused_for_safetensors_which_keep_none(tmp_path):
    save_file(dict(build_encoder("resnet_small", n_classes=4, seed=5).state_dict()), tmp_path / "w.safetensors")
    result = imported(tmp_path / "w.safetensors", "--arch", "resnet_small", "--match", "order", run=tmp_path / "run")
    assert "does not keep the order" in result.err
