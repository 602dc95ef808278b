import copy

import pytest
import torch
from torch import nn

from ticketcli.errors import UsageError
from ticketcli.pairing import Interval, Paired
from ticketcli.report.latency import latency_table, timings
from ticketcli.runtimes import latency
from ticketcli.runtimes.latency import latencies, numbers
from ticketcli.runtimes.outputs import Work


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)

    def forward(self, x):
        return self.conv(x).mean(dim=(2, 3))


def work(width=4):
    torch.manual_seed(0)
    return Work(Net(width).eval(), ("logits",), 8)


def drained(generator):
    pauses = []
    while True:
        try:
            pauses.append(next(generator))
        except StopIteration as end:
            return end.value, pauses


@pytest.fixture
def no_compiler(monkeypatch):
    def refuse(work, device):
        raise UsageError("cannot compile: there is no compiler")

    monkeypatch.setattr(latency, "_compiled", refuse)
    monkeypatch.setattr(latency, "devices", lambda: (torch.device("cpu"),))


def test_every_runtime_is_timed_at_every_batch_and_what_cannot_be_says_why(no_compiler):
    ours = work()
    found, pauses = drained(latencies(ours, copy.deepcopy(ours), seconds=0.0, least=1, batches=(1, 2)))
    assert {key: set(rows) for key, rows in found["cpu"].items()} == {
        key: {"1", "2"} for key in ("eager", "folded", "onnxruntime")
    }
    assert found["missing"] == {
        f"cpu, compiled, batch {n}": "cannot compile: there is no compiler" for n in (1, 2)
    }  # fmt: skip
    row = found["cpu"]["eager"]["1"]
    assert row["milliseconds"] > 0
    assert row["pairs"] == 2
    assert row["faster"]["low"] <= row["faster"]["median"] <= row["faster"]["high"]
    assert [(one.done, one.total) for one in pauses] == [(n, 8) for n in range(8)]
    assert found["threads"] == torch.get_num_threads()


def test_a_runtime_that_computes_something_else_is_not_timed(no_compiler, monkeypatch):
    right = latency._onnxruntime
    monkeypatch.setattr(latency, "_onnxruntime", lambda one, device: lambda images: right(one, device)(images + 1))
    ours = work()
    found, _ = drained(latencies(ours, copy.deepcopy(ours), seconds=0.0, least=1, batches=(1,)))
    assert "onnxruntime" not in found["cpu"]
    assert "something else than torch does" in found["missing"]["cpu, onnxruntime, batch 1"]


def test_without_the_package_onnx_runtime_is_missing_and_torch_is_timed(no_compiler, monkeypatch):
    from ticketcli.runtimes import onnx_graph

    monkeypatch.setattr(onnx_graph, "NEEDS", ("onnx_that_nobody_has",))
    ours = work()
    found, _ = drained(latencies(ours, copy.deepcopy(ours), seconds=0.0, least=1, batches=(1,)))
    assert set(found["cpu"]) == {"eager", "folded"}
    assert "not installed" in found["missing"]["cpu, onnxruntime, batch 1"]


@pytest.mark.slow
def test_a_compiler_that_is_there_is_used(monkeypatch):
    monkeypatch.setattr(latency, "devices", lambda: (torch.device("cpu"),))
    ours = work()
    found, _ = drained(latencies(ours, copy.deepcopy(ours), seconds=0.0, least=1, batches=(1,)))
    assert "compiled" in found["cpu"] or "compile" in found["missing"]["cpu, compiled, batch 1"]


def test_twice_the_work_is_seen_as_slower(no_compiler):
    """A network of sixteen times the width beside a narrow one: in words, not noise."""
    found, _ = drained(latencies(work(512), work(4), seconds=0.0, least=3, batches=(16,)))
    row = found["cpu"]["eager"]["16"]
    assert row["faster"]["high"] < 0.9
    assert row["milliseconds"] > row["dense_milliseconds"]


def test_numbers_turn_the_ratio_into_how_much_faster():
    timed = Paired(0.001, 0.002, Interval(0.5, 0.4, 0.625, 6), Interval(1.0, 0.99, 1.01, 6))
    found = numbers(timed)
    assert (found["milliseconds"], found["dense_milliseconds"]) == (1.0, 2.0)
    assert found["faster"] == {"median": 2.0, "low": 1.6, "high": 2.5}
    metrics = {"latency": {"cpu": {"eager": {"1": found}}, "threads": 1, "side": 8}}
    assert timings(metrics)[0].verdict == "faster"
    assert "Faster than its dense network (1 thread): torch on cpu at batch 1 (2.00x)." in latency_table(metrics)
