"""CIFAR's files are pickles of Python 2; the tests write them opcode for opcode as Python 2 did."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from tests.data.files import sources
from ticketcli.data.sets import load_splits
from ticketcli.errors import CorruptError, InputMissing

SETS = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "cifar100": ("cifar-100-python", "cifar-100-python.tar.gz"),
}


class Python2(pickle._Pickler):
    """Text and bytes as byte strings, numpy under its old name: protocol 2 as Python 2 wrote it."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def __init__(self, file):
        super().__init__(file, protocol=2)

    def save_string(self, value):
        raw = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(raw).to_bytes(4, "little") + raw)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string

    def save_global(self, value, name=None):
        module = value.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{value.__qualname__}\n".encode())
        self.memoize(value)

    dispatch[type] = dispatch[type(np.zeros)] = dispatch[type(lambda: 0)] = save_global


def python2(value):
    file = io.BytesIO()
    Python2(file).dump(value)
    return file.getvalue()


def pixels(n, seed):
    return np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)


def contents(name, pack=python2):
    if name == "cifar10":
        names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
        files = {
            batch: pack({"batch_label": batch, "labels": [k % 10 for k in range(20)], "data": pixels(20, seed)})
            for seed, batch in enumerate(names)
        }
        return files | {"batches.meta": pack({"label_names": [f"class {k}" for k in range(10)], "num_vis": 3072})}
    files = {
        part: pack(
            {"fine_labels": [k % 100 for k in range(200)], "coarse_labels": [0] * 200, "data": pixels(200, seed)}
        )
        for seed, part in enumerate(("train", "test"))
    }
    return files | {"meta": pack({"fine_label_names": [f"fine {k}" for k in range(100)], "coarse_label_names": []})}


def write(root, name, *, packed=False, pack=python2):
    folder, archive = SETS[name]
    files = contents(name, pack)
    if not packed:
        (root / folder).mkdir(parents=True)
        for member, content in files.items():
            (root / folder / member).write_bytes(content)
        return root / folder
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / archive, "w:gz") as tar:
        for member, content in files.items():
            about = tarfile.TarInfo(f"{folder}/{member}")
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return root / archive


@pytest.mark.parametrize("name", list(SETS))
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("below", ["", "own"])
def test_images_labels_and_names_come_as_they_were_written(tmp_path, name, packed, below):
    write(tmp_path / (name if below else ""), name, packed=packed)
    splits = load_splits(name, sources=sources(tmp_path))
    seed, n = (5, 20) if name == "cifar10" else (1, 200)
    wanted = pixels(n, seed).reshape(n, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(splits.test.images.numpy(), wanted)
    assert splits.test.labels.tolist() == [k % len(splits.test.class_names) for k in range(n)]
    assert splits.test.class_names[3] == ("class 3" if name == "cifar10" else "fine 3")
    assert len(splits.train.labels) + len(splits.validation.labels) == (100 if name == "cifar10" else 200)


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_of_python_3_are_read_too(tmp_path, protocol):
    write(tmp_path, "cifar10", pack=lambda value: pickle.dumps(value, protocol=protocol))
    assert len(load_splits("cifar10", sources=sources(tmp_path)).test.labels) == 20


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/owned",)


class Sly:
    def __reduce__(self):
        return np.load, ("x",)


@pytest.mark.parametrize("object_", [Evil(), Sly(), pickle.Unpickler, {"data": print}])
def test_a_pickle_that_asks_for_anything_else_is_refused_and_nothing_is_run(tmp_path, object_, monkeypatch):
    (write(tmp_path, "cifar10") / "data_batch_3").write_bytes(pickle.dumps(object_))
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("code of the pickle was run"))
    with pytest.raises(CorruptError, match=r"it asks for .*, which no such file needs") as caught:
        load_splits("cifar10", sources=sources(tmp_path))
    assert "data_batch_3" in caught.value.where


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"labels": [0], "data": pixels(1, 0)[:, :-1]}, "not bytes of N x 3072"),
        ({"labels": [0], "data": pixels(1, 0).astype(np.float32)}, "not bytes of N x 3072"),
        ({"labels": [0], "data": [1]}, "not bytes of N x 3072"),
        ({"labels": [0, 1], "data": pixels(1, 0)}, "1 images and 2 labels"),
        ({"labels": [10], "data": pixels(1, 0)}, "a label is not in 0 .. 9"),
        ({"labels": ["x"], "data": pixels(1, 0)}, "a label is not in 0 .. 9"),
        ({"data": pixels(1, 0)}, "1 images and no labels"),
        ([1, 2], "holds a list, not a dictionary"),
    ],
)
def test_a_batch_of_another_shape_is_refused(tmp_path, batch, message):
    (write(tmp_path, "cifar10") / "test_batch").write_bytes(pickle.dumps(batch))
    with pytest.raises(CorruptError, match=message):
        load_splits("cifar10", sources=sources(tmp_path))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("packed", [True, False])
def test_a_truncated_file_is_named(tmp_path, keep, packed):
    path = write(tmp_path, "cifar10", packed=packed)
    path = path if packed else path / "data_batch_1"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(CorruptError, match=r"cannot be read|lacks") as caught:
        load_splits("cifar10", sources=sources(tmp_path))
    assert str(path.name) in caught.value.where


def test_an_archive_of_something_else_is_refused(tmp_path):
    write(tmp_path, "cifar100", packed=True).rename(tmp_path / "cifar-10-python.tar.gz")
    with pytest.raises(CorruptError, match="the archive lacks cifar-10-batches-py/data_batch_1"):
        load_splits("cifar10", sources=sources(tmp_path))


def test_a_missing_set_names_the_archive(tmp_path):
    with pytest.raises(InputMissing, match="'cifar10' is not here") as caught:
        load_splits("cifar10", sources=sources(tmp_path))
    assert "cifar-10-python.tar.gz" in caught.value.hint
