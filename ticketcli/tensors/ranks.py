"""The processes of one run: who they are and what they tell one another. In a lone process every function is trivial.

Nobody else talks to torch.distributed but the training loop, which has its gradients averaged by torch's
DistributedDataParallel. What processes tell one another goes over sockets (gloo), tensors on a GPU over nccl.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from ticketcli.errors import PeerLost, TicketError, UsageError

T = TypeVar("T")
_PATIENCE = timedelta(hours=1)  # with a process that is there and silent; one that ended is noticed at once
_NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")


def started() -> int:
    """How many processes the launcher has started for this run, whether or not they have joined."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def world() -> int:
    """How many processes work together; 1 before they have joined."""
    return distributed.get_world_size() if _joined() else 1


def rank() -> int:
    """The number of this process among them; 0 is the one that plans, prints and writes."""
    return distributed.get_rank() if _joined() else 0


def local_rank() -> int:
    """The number of this process among those of its machine."""
    return int(os.environ.get("LOCAL_RANK", rank())) if _joined() else 0


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def join() -> None:
    """Meet the others, if a launcher has started more than this process; waits until all are there.

    Raises:
        UsageError: the launcher did not say where they meet.
        PeerLost: they did not come.
    """
    if started() == 1 or _joined():
        return
    missing = [name for name in _NEEDED if name not in os.environ]
    if missing:
        what = f"{started()} processes were started, and {' and '.join(missing)} not set"
        raise UsageError(what, where="the environment", hint="start them with torchrun, or with --nproc")
    with noticing_losses():
        # on a machine with GPUs one group of both kinds: tensors go where they lie
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)


def leave() -> None:
    """Close the connections; the others notice."""
    if _joined():
        distributed.destroy_process_group()


@contextmanager
def noticing_losses() -> Iterator[None]:
    """Inside the `with`, a connection that breaks raises PeerLost, whatever torch makes of it."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        where = f"process {os.environ.get('RANK', '0')} of {started()}"
        raise PeerLost("another process of this run has ended", where=where, hint="its message says why") from error


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process. All call it at the same place."""
    if world() == 1:
        return flag
    flags = torch.tensor([flag], dtype=torch.uint8)
    with noticing_losses():
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
    return bool(flags)


def agreed(reason: str) -> str:
    """The reason that the first process gives that has one; "" if none has. All ask at the same place."""
    return next(filter(None, gathered(reason))) if any_of(bool(reason)) else ""


def told(value: T) -> T:
    """What process 0 has for `value`; that of the others is ignored."""
    if world() == 1:
        return value
    message = [value]
    with noticing_losses():
        distributed.broadcast_object_list(message, src=0, device=torch.device("cpu"))
    return message[0]


def gathered(value: T) -> list[T]:
    """Every process's value, by its number."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    with noticing_losses():
        distributed.all_gather_object(values, value)
    return values


def require_equal(digest: str, what: str) -> None:
    """Compare what all processes should have made alike.

    Raises:
        TicketError: in all of them, if it differs in any.
    """
    digests = gathered(digest)
    if len(set(digests)) > 1:
        odd = next(number for number, other in enumerate(digests) if other != digests[0])
        raise TicketError(
            f"the processes disagree: {what} of process {odd} differs from that of process 0",
            where=what,
            hint="are machines, versions and files the same for all? Then please report this",
        )


def add_up(tensors: Iterable[Tensor]) -> None:
    """Put into each tensor the sum over the processes, the same bits in all of them."""
    if world() == 1:
        return
    with noticing_losses():
        for tensor in tensors:
            distributed.all_reduce(tensor)


def copy_buffers(module: nn.Module) -> None:
    """Give all processes the buffers that process 0 has, such as BatchNorm's running statistics."""
    if world() == 1:
        return
    with noticing_losses():
        for buffer in module.buffers():
            distributed.broadcast(buffer, src=0)


@contextmanager
def one_first() -> Iterator[None]:
    """Process 0 does what is inside the `with` before the others do, such as fetching a file for all."""
    if rank() > 0:
        told(None)
    yield
    if rank() == 0:
        told(None)
