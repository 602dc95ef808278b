"""Ways to spoil a file, the same ones every time."""

import contextlib
import os
import pickle
import random
import struct
import zipfile

from ticketcli.errors import CorruptError, InputMissing, TicketError, UsageError

REFUSALS = (UsageError, InputMissing, CorruptError)  # exit codes 2, 5 and 6


def flips(data, n, *, seed=0):
    """`n` copies of which one byte each is another."""
    chosen = random.Random(seed)
    for _ in range(n):
        at, change = chosen.randrange(len(data)), chosen.randrange(1, 256)
        yield f"byte {at} ^ {change}", data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]


def truncations(data, n, *, seed=0):
    """`n` copies that end too early; the empty file and the one that lacks a byte are among them."""
    chosen = random.Random(seed)
    for length in [0, len(data) - 1, *(chosen.randrange(len(data)) for _ in range(n - 2))]:
        yield f"cut to {length}", data[:length]


def tensor_file(header: bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file with any header; `length` is what it claims."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


class Bomb:
    """A pickle that tells when it is opened: it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def in_a_coat(path, mark):
    """Files that are something else under the name of a tensor file: kind -> writes it at `path`."""

    def zipped():
        with zipfile.ZipFile(path, "w") as archive:  # as torch.save makes them
            archive.writestr("archive/data.pkl", pickle.dumps(Bomb(mark)))

    def behind_a_header():
        body = pickle.dumps(Bomb(mark))
        header = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(body), len(body))
        path.write_bytes(tensor_file(header, body))

    return {
        "pickle": lambda: path.write_bytes(pickle.dumps(Bomb(mark))),
        "zip": zipped,
        "pickle behind a header": behind_a_header,
        "script": lambda: path.write_text(f"#!/bin/sh\nmkdir {mark}\n"),
        "empty": lambda: path.write_bytes(b""),
    }


def odd_targets(path, elsewhere):
    """Things that are no regular file: kind -> puts it at `path`."""
    return {
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "zeros": lambda: path.symlink_to("/dev/zero"),
        "nothing": lambda: path.symlink_to("/dev/null"),
        "loop": lambda: path.symlink_to(path),
        "dangling": lambda: path.symlink_to(elsewhere / "none"),
    }


def refuses(read, *arguments):
    """Whether a reader refuses with a documented error that says where; anything else that it may raise is a crash."""
    try:
        read(*arguments)
    except TicketError as error:
        refusal = error
    else:
        return False
    return isinstance(refusal, REFUSALS) and bool(refusal.what) and bool(refusal.where)


def survives(read, *arguments):
    """A reader may take what it is given or refuse it; whatever else it may raise goes through, and is a crash."""
    with contextlib.suppress(*REFUSALS):
        read(*arguments)
