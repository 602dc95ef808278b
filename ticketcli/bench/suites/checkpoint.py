"""Writing a checkpoint: ours is sealed, checked to be finite and durable; and how long a training waits for a save."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.subjects import batch_of, network
from ticketcli.tensors.files import copy_of, read_checkpoint, write_checkpoint, write_state

_BATCH = 8
_STALL = 0.005  # of a step
_ABOUT = {"arch": "resnet50"}


def run(job: BenchJob) -> Iterator[Row]:
    """The file against torch.save, safetensors and bare bytes; then a training's wait against its step."""
    subject = network(job)
    tensors = copy_of(subject.model)
    ours, theirs = job.folder / "ours.safetensors", job.folder / "theirs"
    what = f"save {subject.arch} ({sum(value.nbytes for value in tensors.values()) / 1e6:.0f} MB)"
    write = partial(write_checkpoint, ours, tensors, kind="dense", about=_ABOUT)
    ways = {
        "torch.save": partial(torch.save, tensors, theirs),
        "safetensors": partial(save_file, tensors, theirs),
        "bare bytes, fsync": partial(_bare, tensors, theirs),
    }
    note = "only ours and bare bytes wait for the disk; only ours checks and seals"
    for peer, theirs_ in ways.items():
        yield job.compare(what, write, peer, theirs_, equality=partial(_comes_back, write, ours, tensors), note=note)
    yield _stall(job)


def _stall(job: BenchJob) -> Row:
    """The loop stands still while a state is captured and written: as a share of a step, were it saved after each."""
    subject = network(job)
    model = subject.model.train()
    images, labels = batch_of(job.sized(_BATCH, at_least=2), subject.side, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9)
    path = job.folder / "state.safetensors"

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def save() -> None:
        write_state(path, {"model": copy_of(model), "optimizer": optimizer.state_dict()}, about={})

    step()
    return job.compare(
        f"wait for a saved state ({subject.arch} with momentum)", save, f"a step, batch {len(images)}", step,
        equality=lambda: _state_back(save, path, copy_of(model)), goal=Goal("cost", _STALL),
    )  # fmt: skip


def _bare(tensors: dict[str, Tensor], path: Path) -> None:
    with path.open("wb") as file:
        for value in tensors.values():
            file.write(value.numpy().data if value.dim() else value.numpy().tobytes())
        file.flush()
        os.fsync(file.fileno())


def _comes_back(write: partial[None], path: Path, tensors: dict[str, Tensor]) -> Equality:
    write()
    mine, plain = read_checkpoint(path).tensors, load_file(path)
    good = all(torch.equal(mine[name], value) and torch.equal(plain[name], value) for name, value in tensors.items())
    return same("tensors", good and mine.keys() == tensors.keys(), "by safetensors' own reader, too")


def _state_back(save: object, path: Path, model: dict[str, Tensor]) -> Equality:
    assert callable(save)
    save()
    from ticketcli.tensors.files import read_state

    found = read_state(path)[0]["model"]
    return same("the state", all(torch.equal(found[name], value) for name, value in model.items()))
