"""`ticket evaluate --latency` on the finished tiny run; the compiler is left out, for it takes minutes."""

import json

import pytest

from tests.cli.command_line import ticket
from tests.cli.test_export import export, pixel_checkpoint
from ticketcli.errors import UsageError
from ticketcli.runtimes import latency
from ticketcli.stages import evaluate_latency

TARGET = "target@arm=ours-3,seed=0"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    def refuse(work, device):
        raise UsageError("cannot compile: not in this test")

    monkeypatch.setattr(latency, "_compiled", refuse)
    monkeypatch.setattr(latency, "BATCHES", (1,))
    monkeypatch.setattr(evaluate_latency, "_SECONDS", 0.0)


def timed(run, of, *flags):
    result = ticket("evaluate", "--of", of, "--latency", "true", "--name", "timed", *flags, "--run", run.root)
    assert result.code == 0, result
    return result, run.manifest("timed").units["metrics"]


def test_a_ticket_is_timed_beside_the_network_it_was_pruned_from_and_weighed_exactly(copy):
    result, unit = timed(copy, "ours@seed=0/healed")
    found = unit.metrics
    assert found["latency_of"] == {"what": "the network", "dense": "dense@seed=0"}
    for runtime in ("eager", "folded", "onnxruntime"):
        assert found["latency"]["cpu"][runtime]["1"]["milliseconds"] > 0
    assert "cannot compile" in found["latency"]["missing"]["cpu, compiled, batch 1"]
    for words in ("latency of the network, images of 32 pixels, beside dense@seed=0", "95 % interval", "ONNX Runtime",
                  "on disk, packed ticket", "multiply-adds", "layer4.0.conv2"):  # fmt: skip
        assert words in result.out, words
    artifact = copy.manifest("ours@seed=0").artifacts()["healed"]
    assert found["sizes"]["checkpoint"] == artifact.files["values"].size
    assert found["sizes"]["mask"] == artifact.files["mask"].size
    assert found["sizes"]["memory"] == found["sizes"]["dense_memory"]
    assert sum(one["macs"] for one in found["layers"]) == found["macs"]
    kept = sum(one["kept"] for one in found["layers"])
    whole = sum(one["of"] for one in found["layers"])
    assert whole - kept == round(found["sparsity"] * 305_664)
    again, _ = timed(copy, "ours@seed=0/healed")  # a timing is not taken anew unless that is asked for
    assert "fresh" in again.err
    assert "ONNX Runtime" in again.out


def test_timings_are_in_the_manifest_and_not_among_the_results_that_come_out_again(copy):
    timed(copy, "ours@seed=0/healed")
    path = copy.step_folder("timed") / "metrics.json"
    first, before = path.read_bytes(), copy.manifest("timed").units["metrics"]
    assert "latency" not in json.loads(first)
    assert "sizes" in json.loads(first)
    timed(copy, "ours@seed=0/healed", "--resume", "never")
    assert path.read_bytes() == first
    after = copy.manifest("timed").units["metrics"]
    assert after.metrics["latency"] != before.metrics["latency"]
    assert after.outputs[0].identity == before.outputs[0].identity


def test_an_evaluation_without_latency_stays_what_it_was(copy):
    assert ticket("evaluate", "--of", "ours@seed=0/3", "--name", "plain", "--run", copy.root).code == 0
    manifest = copy.manifest("plain")
    assert set(manifest.inputs["identities"]) == {"of"}
    assert not {"latency", "sizes", "layers"} & set(manifest.units["metrics"].metrics)


@pytest.mark.parametrize("of", [TARGET, "dense@seed=0"])
def test_a_transfer_is_timed_beside_dense_with_its_own_head_and_dense_beside_itself(copy, of):
    _, unit = timed(copy, of)
    assert unit.metrics["latency_of"]["dense"] == "dense@seed=0"
    assert unit.metrics["sizes"]["memory"] > 0


def test_a_pixel_level_network_is_timed_by_its_backbone(tmp_path, monkeypatch):
    file = pixel_checkpoint(tmp_path, "semantic")
    flags = ("--dense", file, "--data.name", "scenes", "--data.images", "20", "--latency", "true")
    from ticketcli.store.run_folder import Run

    result = ticket("evaluate", "--of", file, *flags, "--name", "timed", "--run", tmp_path / "run")
    assert result.code == 0, result
    found = Run(tmp_path / "run").manifest("timed").units["metrics"].metrics
    assert found["latency_of"]["what"] == "its backbone (heads are dense in both)"


def test_dense_needs_something_to_be_compared(copy):
    result = ticket("evaluate", "--of", "ours@seed=0/3", "--dense", "dense@seed=0", "--run", copy.root)
    assert result.code == 2
    assert "features: true, latency: true and localize" in result.err


def test_the_card_and_the_page_say_what_was_measured(copy, tmp_path):
    timed(copy, TARGET)
    assert export(copy, TARGET, "--to", tmp_path / "a.ticket.safetensors", "-q").code == 0
    text = (tmp_path / "a.ticket.safetensors.md").read_text()
    assert "Measured by `timed`" in text
    assert "| cpu | torch | 1 |" in text
    assert "Not measured. " not in text
