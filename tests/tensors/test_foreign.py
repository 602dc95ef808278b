import pickle

import pytest
import torch
from safetensors.torch import save_file

from ticketcli.errors import CorruptError, InputMissing
from ticketcli.tensors.foreign import read_weights

STATE = {"conv1.weight": torch.arange(6.0), "fc.bias": torch.ones(2)}


def same(found):
    return found.keys() == STATE.keys() and all(torch.equal(found[name], value) for name, value in STATE.items())


def test_safetensors_are_read(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    assert same(read_weights(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("container", [None, "state_dict", "model", "net"])
def test_a_state_dict_is_found_alone_or_in_a_training_checkpoint(tmp_path, container):
    saved = STATE if container is None else {"epoch": 3, container: STATE, "optimizer": {"lr": 0.1}}
    torch.save(saved, tmp_path / "w.pth")
    assert same(read_weights(tmp_path / "w.pth"))


def test_the_format_of_before_2020_is_read(tmp_path):
    torch.save(STATE, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert same(read_weights(tmp_path / "w.pth"))


class Payload:
    def __reduce__(self):
        return (print, ("this must never run",))


@pytest.mark.parametrize("modern", [True, False])
def test_python_objects_are_refused_and_never_run(tmp_path, capsys, modern):
    torch.save({"state_dict": Payload()}, tmp_path / "w.pth", _use_new_zipfile_serialization=modern)
    with pytest.raises(CorruptError, match="holds Python objects"):
        read_weights(tmp_path / "w.pth")
    assert capsys.readouterr().out == ""


def test_a_plain_pickle_is_refused(tmp_path, capsys):
    (tmp_path / "w.pkl.pth").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(CorruptError):
        read_weights(tmp_path / "w.pkl.pth")
    assert capsys.readouterr().out == ""


def test_a_file_without_a_state_dict_says_what_it_holds(tmp_path):
    torch.save({"epoch": 3, "ema": 1}, tmp_path / "w.pth")
    with pytest.raises(CorruptError, match="no state dict in this file, only epoch, ema"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_files_are_corrupt(tmp_path, name, share):
    path = tmp_path / name
    torch.save(STATE, path) if name == "w.pth" else save_file(STATE, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CorruptError):
        read_weights(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputMissing, match="no such file"):
        read_weights(tmp_path / "w.pth")
