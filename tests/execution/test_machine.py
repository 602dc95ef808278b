"""The machine: what `precision: auto` stands for on it, and the peak of its memory."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from ticketcli.checks import software
from ticketcli.execution import machine
from ticketcli.execution.machine import forget_peaks, peak_gpu_memory, peak_memory, settled
from ticketcli.recipe.configs import RewindConfig
from ticketcli.recipe.prune_config import PruneConfig

CPU = torch.device("cpu")


CPUINFO = """processor\t: 0
vendor_id\t: {vendor}
model name\t: A Processor
flags\t\t: fpu {flags}

processor\t: 1
vendor_id\t: {vendor}
"""


@pytest.mark.parametrize(
    ("vendor", "flags", "precision"),
    [
        ("AuthenticAMD", "avx512_bf16 avx2", "bf16"),
        ("GenuineIntel", "avx512_bf16 amx_bf16", "bf16"),
        ("GenuineIntel", "avx512_bf16 avx2", "fp32"),  # slower in bf16
        ("AuthenticAMD", "avx512f avx2", "fp32"),
    ],
)
def test_auto_is_half_precision_where_the_processor_multiplies_it_faster(monkeypatch, vendor, flags, precision):
    monkeypatch.setattr(software.Path, "read_text", lambda path: CPUINFO.format(vendor=vendor, flags=flags))
    assert settled(PruneConfig(precision="auto"), CPU).precision == precision
    assert settled(PruneConfig(precision="auto"), CPU, before="bf16").precision == "bf16"
    assert settled(PruneConfig(precision="auto"), CPU, before="fp32").precision == "fp32"


def test_without_a_word_of_the_processor_auto_is_fp32(monkeypatch):
    def read_text(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(software.Path, "read_text", read_text)
    assert settled(PruneConfig(precision="auto"), CPU).precision == "fp32"


def test_what_is_said_is_not_settled(monkeypatch):
    monkeypatch.setattr(machine, "fast_bf16", lambda: True)
    for config in (PruneConfig(), PruneConfig(precision="bf16"), RewindConfig()):
        assert settled(config, CPU, before="fp32") is config


KEPT = """
import torch
from ticketcli.execution.machine import forget_peaks, keep_freed_memory, peak_memory
cpu = torch.device("cpu")
keep_freed_memory()
forget_peaks(cpu)
before = peak_memory()
torch.ones(100_000_000)
forget_peaks(cpu)
print(peak_memory() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts peaks of a system that can forget them")
def test_memory_that_is_kept_does_not_count_for_the_next_unit():
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100_000_000


def test_a_peak_is_counted_from_where_the_one_before_was_forgotten():
    def work(n):
        return int(np.ones(n, dtype=np.uint8).sum())

    forget_peaks(CPU)
    before = peak_memory()
    work(400_000_000)
    assert peak_memory() > before + 300_000_000
    forget_peaks(CPU)
    assert peak_memory() < before + 200_000_000
    assert peak_gpu_memory(CPU) is None
