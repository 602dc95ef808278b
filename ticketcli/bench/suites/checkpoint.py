"""Writing a checkpoint: ours is sealed, checked to be finite and durable; and how long a training waits for a save."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.subjects import batch_of, network
from ticketcli.execution.writer import Writer
from ticketcli.tensors.files import copy_of, read_checkpoint, read_state, write_checkpoint, write_state
from ticketcli.training.copies import Copies

_BATCH = 32  # what a process has of the paper's 256, on eight GPUs
_STALL = 0.005  # of a step
_ABOUT = {"arch": "resnet50"}


def run(job: BenchJob) -> Iterator[Row]:
    """The file against torch.save, safetensors and bare bytes; then a training's wait against its step."""
    if job.device.type == "cuda":
        yield from _stall(job)
        return
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
    yield from _stall(job)


class _Training:
    """A network with momentum, a step of it, and its states as the loop captures and the shell writes them."""

    def __init__(self, job: BenchJob) -> None:
        self.subject = network(job)
        self.model = self.subject.model.train()
        self.images, self.labels = batch_of(job, job.sized(_BATCH, at_least=2), self.subject.side, 10)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-9, momentum=0.9)
        self.copies, self.writer, self.path = Copies(), Writer(), job.folder / "state.safetensors"

    def step(self) -> None:
        """A step at a rate that moves the weights by little."""
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(self.images), self.labels).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def capture(self) -> Any:
        """What a training that is saved waits for."""
        return self.copies.of({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()})

    def wait(self) -> None:
        """The whole wait: the copy. Its memory serves the next, as it does once it is written."""
        self.copies.give_back(self.capture())

    def step_while_writing(self) -> None:
        """A step; whenever no state is being written, the next is begun."""
        if not self.writer.is_busy:
            state = self.capture()
            self.writer.begin(partial(self.write, state), lambda seconds: self.copies.give_back(state))
        self.step()

    def write(self, state: Any) -> None:
        """Write a state and read it back, as the shell does."""
        write_state(self.path, state, about={}, check=lambda path: read_state(path) and None)

    def comes_back(self) -> Equality:
        """What is written is what was captured, whatever steps were taken meanwhile."""
        self.step()
        before = copy_of(self.model)
        self.step_while_writing()
        self.writer.finish()
        found = read_state(self.path)[0]["model"]
        good = all(torch.equal(found[name], value.cpu()) for name, value in before.items())
        moved = any(not torch.equal(value, before[name]) for name, value in self.model.state_dict().items())
        return same("the state", good and moved, "of the moment, though training went on")


def _stall(job: BenchJob) -> Iterator[Row]:
    """What a save costs a training: the wait at its step, and a step's length while one is being written."""
    training = _Training(job)
    arch, n = training.subject.arch, len(training.images)
    training.step()
    yield job.compare(
        f"wait for a saved state ({arch} with momentum)", training.wait, f"a step, batch {n}", training.step,
        equality=training.comes_back, goal=Goal("cost", _STALL),
        note="the first save of a training waits longer: its memory is new",
    )  # fmt: skip
    yield job.compare(
        f"a step of {arch} while states are written without end", training.step_while_writing,
        f"a step, batch {n}", training.step, equality=training.comes_back,
    )  # fmt: skip
    training.writer.finish()


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
