"""Settings for all tests: no deadlines (machines are noisy), one thread (the nets are tiny); and one real run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
import torch

from tests.cli.command_line import TINY, ticket
from ticketcli.store.run_folder import Run

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
hypothesis.settings.register_profile("ticketcli", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.load_profile("ticketcli")
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # and for child processes: bytes are promised for equal thread counts


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory):
    """A shared set of real images, unpacked by name; the test is skipped where it is not at hand."""

    def unpack(name):
        if not (SHARED / name).is_dir():
            pytest.skip(f"the real images of '{name}' are not beside this checkout")
        destination = tmp_path_factory.mktemp(name)
        subprocess.run([sys.executable, SHARED / "unpack.py", name, destination], check=True, capture_output=True)
        return destination

    return unpack


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_recipe):
    """A finished run; look, do not touch."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    result = ticket("run", tiny_recipe, "--run", folder)
    assert result.code == 0, result
    return Run(folder)


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run that a test may spoil."""
    shutil.copytree(finished.root, tmp_path / "run")
    return Run(tmp_path / "run")
