import time

import pytest

from ticketcli.checks import software
from ticketcli.checks.check import ask
from ticketcli.checks.software import check_completion, check_cpu, check_gpu, check_memory, check_torch, probe_torch

GOOD = {"torch": "2.9", "cuda_build": "12.8", "cpu": "AVX512", "threads": 1, "torchvision": "0.24",
        "operators": "work", "warnings": [], "devices": []}  # fmt: skip


def test_this_machines_torch_and_torchvision_fit():
    probe = probe_torch()
    assert "trouble" not in probe
    assert check_torch(probe).state == "ok"
    assert probe["threads"] >= 1
    assert check_cpu(probe).state in ("ok", "warn")
    assert isinstance(probe["devices"], list)


def test_a_torch_that_dies_or_hangs_is_told_from_one_that_does_not_fit(tmp_path, monkeypatch):
    (tmp_path / "execution").mkdir()
    monkeypatch.setattr(software, "__file__", str(tmp_path / "checks" / "software.py"))
    script = tmp_path / "execution" / "probe.py"
    script.write_text("raise OSError('libcudart.so is missing')")
    assert "libcudart.so is missing" in check_torch(probe_torch()).found
    script.write_text("import os; os.abort()")
    assert "ended with -6" in check_torch(probe_torch()).found
    monkeypatch.setattr(software, "_TORCH_SECONDS", 1.0)
    script.write_text('import time; print(\'{"torch": "2.9"}\', flush=True); time.sleep(60)')
    found = check_torch(probe_torch())
    assert found.state == "fail"
    assert "torch 2.9" in found.found
    assert "no answer in 1 s" in found.found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"torchvision": None, "torchvision_error": "operator torchvision::nms does not exist"}, "nms does not exist"),
        ({"operators": "nms kept [0]"}, "operators do not work: nms kept [0]"),
        ({"torch": None, "trouble": "No module named 'torch'"}, "torch does not load: No module named 'torch'"),
    ],
)
def test_a_pair_that_does_not_fit_is_a_failure(change, words):
    found = check_torch({key: value for key, value in (GOOD | change).items() if value is not None})
    assert found.state == "fail"
    assert words in found.found
    assert "from one index" in found.hint


def test_more_threads_than_cores_are_a_warning(monkeypatch):
    monkeypatch.setattr(software, "usable_cores", lambda: 4)
    found = check_cpu({**GOOD, "threads": 64})
    assert found.state == "warn"
    assert "OMP_NUM_THREADS=4" in found.hint
    assert check_cpu({**GOOD, "threads": 4}).state == "ok"


def test_memory_is_judged_against_the_peak():
    assert check_memory(1).state == "ok"
    assert check_memory(10**15).state == "fail"


def test_a_gpu_that_computes_is_good_and_one_that_does_not_is_a_failure():
    device = {"name": "H200", "free": 140 * 10**9, "error": ""}
    found = check_gpu({**GOOD, "devices": [device]}, {})
    assert found.state == "ok"
    assert "H200 (140 GB free); CUDA 12.8" in found.found
    bad = check_gpu({**GOOD, "devices": [device, {**device, "error": "no kernel image is available"}]}, {})
    assert bad.state == "fail"
    assert "no kernel image" in bad.found


def test_a_gpu_that_only_the_driver_sees_is_told_with_the_reason(program):
    program("nvidia-smi", "echo 'H200, 525.60'")
    found = check_gpu({**GOOD, "warnings": ["The NVIDIA driver on your system is too old"]}, {})
    assert found.state == "fail"
    assert "too old" in found.found
    assert "525.60" in found.hint
    assert check_gpu({**GOOD, "cuda_build": None}, {}).state == "warn"
    assert check_gpu(GOOD, {"CUDA_VISIBLE_DEVICES": ""}).state == "note"


def test_a_driver_that_is_out_of_order_is_a_warning(program):
    program("nvidia-smi", "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    found = check_gpu(GOOD, {})
    assert found.state == "warn"
    assert "Driver/library version mismatch" in found.found


def test_no_gpu_is_no_fault(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_gpu(GOOD, {}).state == "note"


def test_completion_is_found_where_typer_puts_it(tmp_path):
    assert "--install-completion" in check_completion(tmp_path).hint
    (tmp_path / ".zfunc").mkdir()
    (tmp_path / ".zfunc" / "_ticket").touch()
    assert check_completion(tmp_path).state == "ok"


def test_nobody_is_waited_for_longer_than_said(program):
    program("slow", "echo begun; exec sleep 60")
    started = time.monotonic()
    answer = ask(["slow"], seconds=0.3)
    assert time.monotonic() - started < 20
    assert (answer.out, answer.code) == ("begun\n", None)
    assert ask(["no-such-program-here"], seconds=1).code == 127
