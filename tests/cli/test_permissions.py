"""Everything that a run makes has the permissions that the user's umask leaves, so that a group can share a run."""

import os
import stat

import pytest
import torch

from tests.cli.command_line import ticket
from ticketcli.execution.execute import _Execution
from ticketcli.tensors.files import write_state

PRETRAIN = ("pretrain", "--data", "{name: digits, classes: [0, 1], per_class: 16}", "--epochs", "1ep", "--batch", "8")


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o002, 0o664, 0o775), (0o027, 0o640, 0o750), (0o077, 0o600, 0o700)]
)
def test_outputs_manifests_logs_states_and_locks_alike(tmp_path, umask, file, folder, monkeypatch):
    states = []
    commit = _Execution._commit

    def looked_at(self, *arguments, **named):
        states.extend((self.folder / "state").glob("*.safetensors"))
        states.extend(stat.S_IMODE(path.stat().st_mode) for path in list(states))
        commit(self, *arguments, **named)

    monkeypatch.setattr(_Execution, "_commit", looked_at)
    before = os.umask(umask)
    try:
        run = tmp_path / "run"
        assert ticket(*PRETRAIN, "--milestones", "[]", "--save-every", "0", "--tensorboard", "--run", run).code == 0
        (tmp_path / "r.yaml").write_text("schema: 1\nsteps: {a: {stage: pretrain, data: digits}}")
        write_state(run / "pretrain" / "state" / "x-000000001.safetensors", {"w": torch.ones(1)}, about={})
    finally:
        os.umask(before)
    assert states[-1] == file
    found = {path.relative_to(run): stat.S_IMODE(path.stat().st_mode) for path in run.rglob("*")}
    assert {
        str(path): oct(mode) for path, mode in found.items() if mode != (folder if (run / path).is_dir() else file)
    } == {}
    names = {path.name for path in found}
    assert {"manifest.json", "metrics.jsonl", "dense.safetensors", "pretrain.lock", "state", "tensorboard"} <= names
