"""Every suite runs, small, and its check of equality fails when our side computes something else."""

import dataclasses
import sys

import pytest
import torch

from ticketcli.bench.job import BenchJob
from ticketcli.bench.row import Setting
from ticketcli.bench.run import chosen, run_suite
from ticketcli.bench.suites import (
    checkpoint,
    coco_eval,
    compact,
    detect_step,
    end_to_end,
    export,
    gunn,
    loader_32,
    loader_jpeg,
    lobs,
    mask_io,
    maskstep,
    startup,
    threshold,
    train_cpu,
    train_gpu,
)
from ticketcli.bench.table import ON_GPU, SUITES
from ticketcli.checks.check import Answer
from ticketcli.data import batches
from ticketcli.data.images import Normalization
from ticketcli.models.decoder import Decoder
from ticketcli.models.resnet_shape import Shape
from ticketcli.models.shared_state import SharedState
from ticketcli.store.mask import Mask
from ticketcli.training import loop

TINY = Setting("a machine", 1, {}, 0.004)
SLOW = ("startup", "detect-step", "end-to-end", "checkpoint", "export", "compact", "gunn")
ROWS = {"threshold": 7, "maskstep": 5, "step": 2, "recon": 2, "mask-io": 6, "export": 8, "checkpoint": 5, "startup": 2, "coco-eval": 2,
        "loader-32": 4, "loader-jpeg": 1, "train-cpu": 1, "train-gpu": 1, "detect-step": 1, "end-to-end": 2, "lobs": 9,
        "compact": 7, "gunn": 6}  # fmt: skip


def rows_of(suite, folder):
    return list(run_suite(BenchJob(suite, TINY, folder, 0.0, least=1)))


@pytest.mark.parametrize("suite", [pytest.param(one, marks=[pytest.mark.slow] * (one in SLOW)) for one in SUITES])
def test_a_suite_runs_small_and_both_sides_compute_the_same(suite, tmp_path):
    rows = rows_of(suite, tmp_path)
    assert len(rows) == ROWS[suite]
    for row in rows:
        if row.why:
            assert "not installed" in row.why or "no GPU" in row.why or "neither AVX512-BF16" in row.why, row.why
        else:
            assert row.equality.holds, row
            assert row.ours > 0
            assert row.theirs > 0
            assert row.ratio.median > 0


def wrong_threshold(monkeypatch):
    right = threshold.drop_smallest
    monkeypatch.setattr(threshold, "drop_smallest", lambda w, mask, fraction: right(w, mask, fraction=fraction * 1.01))


def wrong_maskstep(monkeypatch):
    monkeypatch.setattr(maskstep.MaskedWeights, "mask_gradients", lambda self: None)


def wrong_step(monkeypatch):
    right = loop.learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda *given: 1.001 * right(*given))


def wrong_recon(monkeypatch):
    right = Decoder.forward

    def forward(self, taps, *, t):
        frozen = not self.head.weight.requires_grad
        return right(self, {name: tap.detach() if frozen else tap for name, tap in taps.items()}, t=t)

    monkeypatch.setattr(Decoder, "forward", forward)


def other_mask(mask):
    arrays = {name: array.copy() for name, array in mask.items()}
    first = next(iter(arrays.values())).reshape(-1)
    first[0] = not first[0]
    return Mask(arrays)


def wrong_mask_io(monkeypatch):
    right = mask_io.write_mask
    monkeypatch.setattr(mask_io, "write_mask", lambda path, mask, about: right(path, other_mask(mask), about))


def wrong_export(monkeypatch):
    right, graph = export.write_packed, export.to_onnx

    def off(path, tensors, mask, **how):
        right(
            path,
            {name: value * 1.001 if name == "conv1.weight" else value for name, value in tensors.items()},
            mask,
            **how,
        )

    def other(work, *given, **how):
        return graph(dataclasses.replace(work, module=torch.nn.Sequential(work.module, torch.nn.Tanh())), None, **how)

    monkeypatch.setattr(export, "write_packed", off)
    monkeypatch.setattr(export, "to_onnx", other)


def wrong_compact(monkeypatch):
    right = compact.smaller.compact

    def off(*given, **how):
        found = right(*given, **how)
        with torch.no_grad():
            found.get_submodule("layer2.0.bn1").bias += 0.1
        return found

    monkeypatch.setattr(compact.smaller, "compact", off)


def wrong_checkpoint(monkeypatch):
    right = checkpoint.write_checkpoint
    monkeypatch.setattr(
        checkpoint, "write_checkpoint",
        lambda path, tensors, **how: right(path, {name: value + 1 for name, value in tensors.items()}, **how),
    )  # fmt: skip
    monkeypatch.setattr(
        checkpoint, "copy_of", lambda module: {n: torch.rand_like(v.float()) for n, v in module.state_dict().items()}
    )


def wrong_coco_eval(monkeypatch):
    right = coco_eval.average_precision

    def off(*given):
        found = right(*given)
        return {"box": {**found["box"], "ap75": found["box"]["ap75"] + 1e-6}}

    monkeypatch.setattr(coco_eval, "average_precision", off)


def wrong_loader_32(monkeypatch):
    right = loader_32._feed

    def off(*given):
        feed = right(*given)
        feed.normalization = Normalization((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
        return feed

    monkeypatch.setattr(loader_32, "_feed", off)


def wrong_loader_jpeg(monkeypatch):
    right = batches.crop
    monkeypatch.setattr(batches, "crop", lambda *given, **how: right(*given, **how).flip(0))


def wrong_gunn(monkeypatch):
    """The way back reads the states of the end, and the residual network is of another size."""
    right = SharedState.show

    def off(self, place):
        return right(self, max(place, len(self._after)))

    monkeypatch.setattr(SharedState, "show", off)
    monkeypatch.setitem(gunn.AS_LARGE_AS, "gunn_small", Shape((1, 1, 1, 1), (8, 16, 32, 64), stem=3))


def wrong_train_cpu(monkeypatch):
    right = train_cpu.learning

    def off(model, images, labels, **settings):
        return right(model, images, (labels + 1) % 10 if settings else labels, **settings)

    monkeypatch.setattr(train_cpu, "learning", off)


def wrong_startup(monkeypatch):
    monkeypatch.setattr(startup, "_OURS", (sys.executable, "-c", "print('Usage')"))


def wrong_detect_step(monkeypatch):
    right = detect_step._reference

    def off(*given):
        other = right(*given)
        with torch.no_grad():
            next(other.parameters()).mul_(1.001)
        return other

    monkeypatch.setattr(detect_step, "_reference", off)


def wrong_end_to_end(monkeypatch):
    seen = '{"kinds": {"forward": 9}, "others": [["a", 1]], "total": 10}'
    monkeypatch.setattr(end_to_end, "ask", lambda command, seconds: Answer(seen, "", 3 if "status" in command else 0))


def wrong_lobs(monkeypatch):
    right = lobs.prune_layer

    def off(weight, gram, *, method, **how):
        found = right(weight, gram, method={"lobs": "magnitude"}.get(method, method), **how)
        return dataclasses.replace(found, weight=found.weight * 1.0001)

    monkeypatch.setattr(lobs, "prune_layer", off)


@pytest.mark.parametrize("suite", [name for name in SUITES if name != "train-gpu"])
def test_a_check_of_equality_sees_what_is_wrong_with_ours(suite, tmp_path, monkeypatch):
    globals()["wrong_" + suite.replace("-", "_")](monkeypatch)
    rows = [row for row in rows_of(suite, tmp_path) if not row.why]
    if suite == "train-cpu" and not rows:
        pytest.skip("this CPU has no bf16")
    assert rows
    assert any(row.failed for row in rows)
    compared = {
        "maskstep": 5,
        "threshold": 6,
        "coco-eval": 2,
        "checkpoint": 5,
        "lobs": 9,
        "export": 8,
        "compact": 7,
        "gunn": 6,
    }
    assert sum(row.failed for row in rows) >= min(compared.get(suite, 1), len(rows))  # not every peer is installed


def test_what_is_measured_on_a_gpu_computes_the_same_on_both_sides_here_too(tmp_path, monkeypatch):
    monkeypatch.setattr(train_gpu, "_compiled", lambda model: model)
    rows = list(train_gpu.run(BenchJob("train-gpu", TINY, tmp_path, 0.0, least=1)))
    assert len(rows) == SUITES["train-gpu"].comparisons + 1
    assert all(row.equality.holds for row in rows)


def test_the_gpus_step_that_does_not_train_the_same_network_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(train_gpu, "_compiled", lambda model: torch.nn.Sequential(model, torch.nn.Softmax(dim=1)))
    rows = list(train_gpu.run(BenchJob("train-gpu", TINY, tmp_path, 0.0, least=1)))
    assert sum(row.failed for row in rows) >= 3


def test_on_a_gpu_the_suites_that_need_a_cpu_say_so():
    assert chosen([], torch.device("cuda")) == list(ON_GPU)
    assert set(ON_GPU) < set(SUITES)


def test_the_demo_that_dies_is_a_row_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(end_to_end, "ask", lambda command, seconds: Answer("", "a\nno memory", 137))
    (row,) = rows_of("end-to-end", tmp_path)
    assert row.why == "unexpected end of the demo: no memory"


def test_a_peer_that_is_not_installed_is_a_row_that_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(coco_eval, "missing", lambda package: package == "faster_coco_eval")
    rows = rows_of("coco-eval", tmp_path)
    assert [row.why for row in rows] == ["", "not installed: pip install faster-coco-eval"]


def test_without_bf16_in_the_processor_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(train_cpu, "cpu_flags", lambda: frozenset({"avx2"}))
    (row,) = rows_of("train-cpu", tmp_path)
    assert "neither AVX512-BF16 nor AMX" in row.why
    assert row.goal is not None


@pytest.mark.parametrize("faster", [True, False])
def test_twice_the_speed_is_the_goal_only_where_bf16_is_known_to_be_faster(faster, tmp_path, monkeypatch):
    monkeypatch.setattr(train_cpu, "cpu_flags", lambda: frozenset({"avx512_bf16"}))
    monkeypatch.setattr(train_cpu, "fast_bf16", lambda: faster)
    (row,) = rows_of("train-cpu", tmp_path)
    assert (row.goal is not None) is faster
    assert row.ratio is not None


def test_photographs_of_ones_own_are_used_where_there_are_some(tmp_path):
    from PIL import Image

    (tmp_path / "mine").mkdir()
    for number in range(5):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(tmp_path / "mine" / f"{number}.jpg")
    job = BenchJob("loader-jpeg", TINY, tmp_path, 0.0, tmp_path / "mine")
    assert {path.parent.name for path in loader_jpeg.photographs(job, 4)} == {"mine"}
    bare = dataclasses.replace(job, data_dir=None)
    made = loader_jpeg.photographs(bare, 3)
    assert [loader_jpeg._open(path).size for path in made] == [(500, 375)] * 3
