"""`ticket export`: what leaves a run, comes back, and says of itself what is true."""

import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

from tests.cli.command_line import ticket
from ticketcli.exports import onnx_file
from ticketcli.models.architectures import build_encoder
from ticketcli.runtimes.onnx_graph import described
from ticketcli.runtimes.session import Agreement, Session
from ticketcli.store.codec import read_mask
from ticketcli.tensors.files import copy_of, load_into, read_checkpoint, write_checkpoint
from ticketcli.tensors.packed import read_packed

TARGET = "target@arm=ours-3,seed=0"
FROZEN = ("--freeze-backbone", "true", "--epochs", "2it", "--batch", "8", "--milestones", "", "-q")


def export(run, *words):
    return ticket("export", *words, "--run", run.root)


@pytest.fixture(scope="module")
def frozen(finished, tmp_path_factory):
    """A copy of the run with two transfers that left the backbone frozen."""
    from ticketcli.store.run_folder import Run

    run = Run(tmp_path_factory.mktemp("frozen") / "run")
    shutil.copytree(finished.root, run.root)
    for name, classes in (("one", "5,6"), ("two", "7,8,9")):
        data = ("--data.name", "digits", "--data.classes", classes)
        result = ticket("transfer", "--ticket", "ours@seed=0/healed", *data, "--name", name, *FROZEN, "--run", run.root)
        assert result.code == 0, result
    return run


# ---------------------------------------------------------------------- packed


@pytest.mark.parametrize("of", ["ours@seed=0/3", "imp@seed=0/3", TARGET])
def test_a_packed_ticket_imports_to_the_exact_tensors_and_mask(copy, tmp_path, of):
    to = tmp_path / "a.ticket.safetensors"
    assert export(copy, of, "--to", to).code == 0
    result = ticket("import", to, "--run", copy.root, "--name", "back")
    assert result.code == 0, result
    step, _, output = of.partition("/")
    manifest = copy.manifest(step)
    source = manifest.artifacts()[output or "task"]
    folder = copy.step_folder(step)
    values = read_checkpoint(source.files["values"].locate(folder)).tensors
    mask = read_mask(source.files["mask"].locate(folder))[0]
    back = copy.manifest("back").artifacts()["ticket"]
    assert back.kind == source.kind
    found = read_checkpoint(back.files["values"].locate(copy.step_folder("back"))).tensors
    assert read_mask(back.files["mask"].locate(copy.step_folder("back")))[0] == mask
    assert found.keys() == values.keys()
    for name, value in values.items():
        wanted = torch.where(torch.from_numpy(mask[name].copy()), value, 0.0) if name in mask else value
        assert torch.equal(found[name], wanted)
    assert {**back.about, "unpacked": None} == {**source.about, "unpacked": None}


def test_what_came_back_is_worth_what_went_out(copy, tmp_path):
    to = tmp_path / "a.ticket.safetensors"
    assert export(copy, TARGET, "--to", to).code == 0
    assert ticket("import", to, "--run", copy.root, "--name", "back", "-q").code == 0
    worth = [
        json.loads(ticket("evaluate", "--of", of, "--name", f"w{n}", "--run", copy.root, "--json", "-q").out)["units"]
        for n, of in enumerate((TARGET, "back"))
    ]
    assert worth[0]["metrics"]["correct"] == worth[1]["metrics"]["correct"]


def test_a_ticket_that_came_back_is_found_by_the_stages_that_take_one(tmp_path, finished):
    to = tmp_path / "a.ticket.safetensors"
    assert export(finished, "ours@seed=0/healed", "--to", to).code == 0
    run = tmp_path / "elsewhere"
    assert ticket("import", to, "--run", run, "-q").code == 0
    assert "no dense in this run" in ticket("prune", "--loss", "cls", "--run", run).err
    data = ("--data.name", "digits", "--data.classes", "5,6", "--epochs", "1it", "--batch", "8", "--milestones", "")
    result = ticket("transfer", *data, "--run", run, "-q")
    assert result.code == 0, result
    assert ticket("verify", "--run", run).code == 0


def test_bf16_is_smaller_and_comes_back_as_bf16(copy, tmp_path):
    sizes = {}
    for values in ("fp32", "bf16"):
        to = tmp_path / f"{values}.ticket.safetensors"
        result = export(copy, "imp@seed=0/3", "--to", to, "--values", values, "--json", "-q")
        sizes[values] = json.loads(result.out)["bytes"]
        assert sizes[values] == to.stat().st_size
    found = read_packed(tmp_path / "bf16.ticket.safetensors")
    kept = found.mask.kept
    assert sizes["fp32"] - sizes["bf16"] == pytest.approx(2 * kept, abs=1000)  # of 156,500; the header varies
    weight = found.tensors["layer1.0.conv1.weight"]
    assert torch.equal(weight, weight.bfloat16().float())
    assert ticket("import", tmp_path / "bf16.ticket.safetensors", "--run", copy.root, "-q").code == 0


def test_the_same_ticket_is_packed_to_the_same_bytes(finished, tmp_path):
    for name in ("a", "b"):
        assert export(finished, "ours@seed=0/3", "--to", tmp_path / f"{name}.ticket.safetensors", "-q").code == 0
    assert (tmp_path / "a.ticket.safetensors").read_bytes() == (tmp_path / "b.ticket.safetensors").read_bytes()


def test_inspect_shows_what_lives_without_torch(finished, tmp_path):
    to = tmp_path / "a.ticket.safetensors"
    assert export(finished, "ours@seed=0/3", "--to", to, "-q").code == 0
    code = "import sys; from ticketcli.cli.app import main; sys.argv = ['ticket', 'inspect', sys.argv[1]]\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code, str(to)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in ("weights live, 48.80% sparse", "layer4.0.conv2.weight", "tensors are stored whole"):
        assert words in done.stdout


# ---------------------------------------------------------------------- ONNX


def test_an_onnx_file_computes_what_torch_does_and_says_what_it_is(finished, tmp_path):
    to = tmp_path / "a.onnx"
    result = export(finished, TARGET, "--to", to)
    assert result.code == 0, result
    assert "ONNX Runtime and torch agree: largest difference" in result.out
    said = described(to.read_bytes())
    artifact = finished.manifest(TARGET).artifacts()["task"]
    assert json.loads(said["class_names"]) == artifact.about["class_names"]
    assert json.loads(said["mean"]) == artifact.about["normalization"]["mean"]
    assert float(said["sparsity"]) == pytest.approx(0.488, abs=1e-3)
    assert json.loads(said["digests"])["values"] == artifact.files["values"].content
    assert str(tmp_path).encode() not in to.read_bytes()
    model = build_encoder("resnet_small", n_classes=2, seed=0).eval()
    file = artifact.files["values"].locate(finished.step_folder(TARGET))
    load_into(model, read_checkpoint(file).tensors, where="x")
    images = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        np.testing.assert_allclose(Session(to.read_bytes())(images.numpy())[0], model(images).numpy(), atol=1e-4)


def test_where_onnx_runtime_computes_something_else_nothing_is_written(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "compared", lambda work, session: Agreement(1.0, 1e-4, 1.0))
    result = export(finished, TARGET, "--to", tmp_path / "a.onnx")
    assert result.code == 6, result
    assert "computes something else: largest difference 1 of outputs up to 1" in result.err
    assert not list(tmp_path.iterdir())


def test_an_exporter_that_spoils_a_weight_is_caught_by_the_comparison(finished, tmp_path, monkeypatch):
    right = onnx_file.to_onnx

    def spoilt(*given, **how):
        graph = right(*given, **how)
        bias = next(one for one in graph.graph.initializer if one.name == "fc.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 0.01, "fc.bias"))
        return graph

    monkeypatch.setattr(onnx_file, "to_onnx", spoilt)
    result = export(finished, TARGET, "--to", tmp_path / "a.onnx")
    assert result.code == 6, result
    assert not list(tmp_path.iterdir())


def test_int8_is_smaller_keeps_zeros_and_is_measured_beside_float32(finished, tmp_path):
    to = tmp_path / "a.onnx"
    result = export(finished, TARGET, "--to", to, "--int8", "--calibrate", "32", "--json", "-q")
    assert result.code == 0, result
    found = json.loads(result.out)
    assert found["bytes"] < 0.35 * found["int8"]["float32_bytes"]
    assert 0 <= found["int8"]["top1"] <= 1
    assert found["int8"]["agree"] > 0.9
    test = finished.manifest(TARGET).units["task"].metrics["test"]
    assert found["int8"]["float32_top1"] == pytest.approx(test["top1"])
    assert found["int8"]["n"] == test["n"]
    mask = read_mask(finished.manifest(TARGET).artifacts()["task"].files["mask"].locate(finished.step_folder(TARGET)))[
        0
    ]
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(to).graph.initializer}
    for name, alive in mask.items():
        eight = weights[f"{name}_quantized"]
        assert eight.dtype == np.int8
        assert not eight[~alive].any()
    assert described(to.read_bytes())["precision"] == "int8"


def test_taps_are_what_detectors_read_and_a_dense_network_goes_out_too(finished, tmp_path):
    to = tmp_path / "a.onnx"
    result = export(finished, "dense@seed=0", "--to", to, "--taps", "--json", "-q")
    assert result.code == 0, result
    found = json.loads(result.out)
    assert (found["outputs"], found["image_size"]) == (["layer1", "layer2", "layer3", "layer4"], "any")
    assert "sparsity" not in found


def pixel_checkpoint(folder, task):
    """A network for pixels or boxes that nobody has trained, as a transfer would leave it."""
    from ticketcli.tasks.table import TASKS
    from ticketcli.tasks.task import Head

    classes = ("background", *map(str, range(10)))
    head = Head(classes, 64, 128, 16, (8.0, 16.0, 32.0, 64.0, 128.0), 8, 8)
    head = head if task == "detection" else Head(classes, 64, 128, 16, regions="category")
    encoder = build_encoder("resnet_small", n_classes=1, seed=0)
    model = TASKS[task].build(encoder, head, seed=0)
    about = {
        "arch": "resnet_small", "image_size": 64, "class_names": list(classes), "task": task, "head": head.about(),
        "normalization": {"mean": [0.5] * 3, "std": [0.2] * 3}, "data": {"name": "scenes"},
    }  # fmt: skip
    write_checkpoint(folder / "task.safetensors", copy_of(model), kind="task", about=about)
    return folder / "task.safetensors"


def test_the_heads_of_a_detector_are_refused_and_its_backbone_goes_out(tmp_path):
    file = pixel_checkpoint(tmp_path, "detection")
    refused = ticket("export", file, "--to", tmp_path / "a.onnx")
    assert refused.code == 2, refused
    assert "the heads of detection are no graph" in refused.err
    assert "--taps" in refused.err
    eight = ticket("export", file, "--to", tmp_path / "a.onnx", "--taps", "--int8")
    assert eight.code == 2, eight
    result = ticket("export", file, "--to", tmp_path / "a.onnx", "--taps")
    assert result.code == 0, result
    assert "images [batch, 3, height, width], any size -> layer1, layer2, layer3, layer4" in result.out


def test_classes_of_pixels_go_out_whole(tmp_path):
    file = pixel_checkpoint(tmp_path, "semantic")
    result = ticket("export", file, "--to", tmp_path / "a.onnx")
    assert result.code == 0, result
    logits = Session((tmp_path / "a.onnx").read_bytes())(np.zeros((2, 3, 64, 64), np.float32))[0]
    assert logits.shape == (2, 11, 64, 64)


# ---------------------------------------------------------------------- bundles


def test_a_bundle_brings_back_every_network_exactly(frozen, tmp_path):
    to = tmp_path / "b.ticket.safetensors"
    result = export(frozen, "one", "two", "--bundle", "--to", to)
    assert result.code == 0, result
    for name in ("one", "two"):
        back = ticket("import", to, "--head", name, "--name", f"{name}-back", "--run", tmp_path / "run", "-q")
        assert back.code == 0, back
        found = read_checkpoint(tmp_path / f"run/{name}-back/ticket.safetensors")
        wanted = read_checkpoint(frozen.step_folder(name) / "task.safetensors")
        assert found.tensors.keys() == wanted.tensors.keys()
        assert all(torch.equal(value, wanted.tensors[n]) for n, value in found.tensors.items())
        assert {**found.about, "unpacked": None} == {**wanted.about, "unpacked": None}


def test_the_ledger_counts_real_bytes(frozen, tmp_path):
    to = tmp_path / "b.ticket.safetensors"
    found = json.loads(export(frozen, "one", "two", "--bundle", "--to", to, "--json", "-q").out)
    ledger = found["ledger"]
    assert ledger["bundle"]["disk"] == to.stat().st_size == found["bytes"]
    files = [frozen.step_folder(n) / f for n in ("one", "two") for f in ("task.safetensors", "task.mask.safetensors")]
    assert ledger["finetuned copies"]["disk"] == sum(path.stat().st_size for path in files if path.exists())
    tensors = {n: read_checkpoint(frozen.step_folder(n) / "task.safetensors").tensors for n in ("one", "two")}
    whole = {n: sum(value.nbytes for value in own.values()) for n, own in tensors.items()}
    head = sum(value.nbytes for name, value in tensors["two"].items() if name.startswith("fc."))
    assert ledger["finetuned copies"]["memory"] == sum(whole.values())
    assert ledger["bundle"]["memory"] == whole["one"] + head
    assert ledger["bundle"]["wire"] < ledger["packed copies"]["wire"] < ledger["finetuned copies"]["wire"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["one", TARGET], 6, "the backbones differ in 'bn1"),
        (["one"], 2, "two networks or more"),
        (["one", "ours@seed=0/healed"], 2, "has learnt no target"),
        (["one", "dense@seed=0"], 2, "has learnt no target"),
    ],
)
def test_what_makes_no_bundle_is_refused_and_names_the_tensor(frozen, tmp_path, words, code, message):
    result = export(frozen, *words, "--bundle", "--to", tmp_path / "b.ticket.safetensors")
    assert result.code == code, result
    assert message in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "several networks"),
        (("--head", "oen"), "did you mean 'one'?"),
        (("--head", "one", "--arch", "resnet20"), "leave out"),
    ],
)
def test_a_head_has_to_be_named_and_nothing_else(frozen, tmp_path, flags, message):
    to = tmp_path / "b.ticket.safetensors"
    assert export(frozen, "one", "two", "--bundle", "--to", to, "-q").code == 0
    result = ticket("import", to, *flags, "--run", tmp_path / "run")
    assert result.code == 2, result
    assert message in result.err


def test_a_head_is_for_bundles(finished, tmp_path):
    to = tmp_path / "a.ticket.safetensors"
    assert export(finished, "ours@seed=0/3", "--to", to, "-q").code == 0
    result = ticket("import", to, "--head", "x", "--run", tmp_path / "run")
    assert "one ticket and no bundle" in result.err


# ---------------------------------------------------------------------- the card


def test_the_card_says_what_it_is_where_from_and_that_no_speed_was_measured(finished, tmp_path):
    assert export(finished, TARGET, "--to", tmp_path / "a.onnx", "-q").code == 0
    text = (tmp_path / "a.onnx.md").read_text()
    manifest = finished.manifest(TARGET)
    for words in (
        "unofficial", "48.80% of the prunable weights", manifest.artifacts()["task"].files["values"].content,
        "trained from a random draw", "digits | public (UCI)", "stage: pretrain", "stage: prune", "stage: transfer",
        f"test.top1 | {manifest.units['task'].metrics['test']['top1']:.2%}", "Not measured.",
        "nothing is calculated from multiply-adds", "largest difference",
    ):  # fmt: skip
        assert words in text, words


def test_the_card_has_what_evaluations_of_exactly_this_found(copy, tmp_path):
    """`again` is of this transfer; `worth` is of another ticket."""
    assert export(copy, TARGET, "--to", tmp_path / "a.ticket.safetensors", "-q").code == 0
    text = (tmp_path / "a.ticket.safetensors.md").read_text()
    assert "again@" in text
    assert "worth@" not in text


def test_weights_from_elsewhere_have_the_licence_that_is_known_or_none(tmp_path):
    model = build_encoder("resnet_small", n_classes=3, seed=1)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    run = tmp_path / "run"
    assert ticket("import", tmp_path / "w.pth", "--arch", "resnet_small", "--run", run, "-q").code == 0
    assert ticket("export", "import", "--taps", "--to", tmp_path / "a.onnx", "--run", run, "-q").code == 0
    text = (tmp_path / "a.onnx.md").read_text()
    assert "their licence | not known here" in text
    assert "Nothing was measured" in text


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["ours@seed=0/3", "--to", "a.bin"], 2, "ends in neither"),
        (["ours@seed=0/3", "--to", "a.onnx", "--values", "bf16"], 2, "--values is for packed files"),
        (["ours@seed=0/3", "--to", "a.onnx", "--bundle"], 2, "--bundle is for packed files"),
        (["ours@seed=0/3", "--to", "a.ticket.safetensors", "--int8"], 2, "--int8 is for ONNX"),
        (["ours@seed=0/3", "--to", "a.ticket.safetensors", "--values", "fp8"], 2, "fp32 or bf16"),
        (["ours@seed=0/3", "--to", "a.onnx", "--data", "digits"], 2, "--data is for --int8"),
        (["ours@seed=0/3", "imp@seed=0/3", "--to", "a.onnx"], 2, "--bundle puts several"),
        (["ours@seed=0/3", "--to", "old.onnx"], 2, "refusing to replace"),
        (["ours@seed=0/3", "--to", "carded.onnx"], 2, "refusing to replace"),
        (["ours@seed=0/3", "--to", "no/a.onnx"], 5, "no such folder"),
        (["ousr@seed=0", "--to", "a.onnx"], 5, "did you mean 'ours@seed=0'?"),
        (["dense@seed=0", "--to", "a.ticket.safetensors"], 6, "nothing of this dense is masked"),
        (["dec@seed=0", "--to", "a.onnx"], 6, "this decoder is no network"),
        (["worth@seed=0", "--to", "a.onnx"], 6, "this metrics is no network"),
        (["m.mask.safetensors", "--to", "a.onnx"], 5, "a mask file alone has no values"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(
    finished, tmp_path, monkeypatch, words, code, message
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(finished.step_folder("ours@seed=0") / "round-03.mask.safetensors", "m.mask.safetensors")
    for name in ("old.onnx", "carded.onnx.md"):
        (tmp_path / name).write_text("mine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    result = export(finished, *words)
    assert result.code == code, result
    assert message in result.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_without_the_packages_the_command_says_what_to_install(finished, tmp_path, monkeypatch):
    from ticketcli.runtimes import onnx_graph

    monkeypatch.setattr(onnx_graph, "NEEDS", ("onnx_that_nobody_has",))
    result = export(finished, TARGET, "--to", tmp_path / "a.onnx")
    assert result.code == 2, result
    assert "pip install 'ticketcli[export]'" in result.err
    assert export(finished, TARGET, "--to", tmp_path / "a.ticket.safetensors").code == 0


def test_a_run_that_was_damaged_is_not_exported(copy, tmp_path):
    path = copy.step_folder(TARGET) / "task.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    result = export(copy, TARGET, "--to", tmp_path / "a.ticket.safetensors")
    assert result.code == 6, result
    assert not (tmp_path / "a.ticket.safetensors").exists()
