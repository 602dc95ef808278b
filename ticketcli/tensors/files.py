"""The only reader and writer of torch tensors on disk: checkpoints, and the state of a step under way.

Everything is safetensors; nothing is ever unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ticketcli.errors import CorruptError, DivergedError, MismatchError
from ticketcli.store.tensorfile import check_bytes, read_header, write_tensors
from ticketcli.tensors.finite import is_finite

STATE = "state"
Tree = Any


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, the kind of file, and what it is about."""

    tensors: dict[str, Tensor]
    kind: str
    about: dict[str, Any]


def require_finite(tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Refuse tensors with NaN or infinite values, so that a healthy file is never replaced by a diverged one.

    Raises:
        DivergedError: names the first such tensor.
    """
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise DivergedError(
                f"'{name}' is not finite", where=where, hint="lower lr, or clip the gradients (clip: 1.0)"
            )


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], *, kind: str, about: dict[str, Any]) -> None:
    """Write tensors atomically; they are moved to the CPU, made contiguous and checked to be finite first."""
    own = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    require_finite(own, where=str(path))
    write_tensors(path, lambda to, metadata: save_file(own, to, metadata=metadata), kind=kind, about=about)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file that this tool wrote, onto the CPU.

    Raises:
        InputMissing: no such file.
        CorruptError: truncated, damaged, or not of this tool's making.
    """
    header = read_header(path)
    if not header.metadata:
        raise CorruptError("this safetensors file does not say what it is", where=str(path))
    check_bytes(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError, RuntimeError, TypeError, OSError) as error:
        raise CorruptError(f"cannot read: {error}", where=str(path)) from None
    return Checkpoint(tensors, str(header.metadata["kind"]), dict(header.metadata["about"]))


def copy_of(module: nn.Module) -> dict[str, Tensor]:
    """The module's parameters and buffers, cloned: later training does not reach them."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


@torch.no_grad()
def load_into(module: nn.Module, tensors: Mapping[str, Tensor], *, where: str, without: Iterable[str] = ()) -> None:
    """Copy `tensors` into `module`, every name and shape accounted for; nothing is changed unless all fit.

    `without` are name prefixes that neither side needs to have in common, such as a head that is replaced.

    Raises:
        MismatchError: a name is missing or left over, or a shape differs; names it.
    """
    skipped = tuple(without)
    own = {name: tensor for name, tensor in module.state_dict().items() if not name.startswith(skipped or ("\0",))}
    given = {name: tensor for name, tensor in tensors.items() if not name.startswith(skipped or ("\0",))}
    hint = "the checkpoint belongs to another architecture or number of classes"
    for name in [*own, *given]:
        if name not in given:
            raise MismatchError(f"the checkpoint lacks '{name}'", where=where, hint=hint)
        if name not in own:
            raise MismatchError(f"the network has no '{name}'", where=where, hint=hint)
        if own[name].shape != given[name].shape:
            raise MismatchError(
                f"'{name}' is {tuple(given[name].shape)}, the network's is {tuple(own[name].shape)}",
                where=where,
                hint=hint,
            )
    for name, tensor in own.items():
        tensor.copy_(given[name])


def _flatten(tree: Tree, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        key = str(len(tensors))
        tensors[key] = tree.detach().to("cpu").contiguous()
        return {"tensor": key}
    if isinstance(tree, Mapping):
        return {"map": [[key, _flatten(value, tensors)] for key, value in tree.items()]}
    if isinstance(tree, (list, tuple)):
        return {"list": [_flatten(value, tensors) for value in tree]}
    return {"value": tree}


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same, none within the memory of another, which the format cannot say; only such are copied."""
    seen: set[int] = set()
    found = {}
    for key, tensor in tensors.items():
        storage = tensor.untyped_storage()
        is_own = storage.nbytes() == tensor.nbytes and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        found[key] = tensor if is_own else tensor.clone()
    return found


def _unflatten(skeleton: Any, tensors: Mapping[str, Tensor]) -> Tree:
    if "tensor" in skeleton:
        return tensors[skeleton["tensor"]]
    if "map" in skeleton:
        return {key: _unflatten(value, tensors) for key, value in skeleton["map"]}
    if "list" in skeleton:
        return [_unflatten(value, tensors) for value in skeleton["list"]]
    return skeleton["value"]


def write_state(path: Path, tree: Tree, *, about: dict[str, Any], check: Callable[[Path], None] | None = None) -> None:
    """Write a nested structure of mappings, lists, tensors and JSON values atomically, and read it back to be sure."""
    tensors: dict[str, Tensor] = {}
    skeleton = _flatten(tree, tensors)
    tensors = _apart(tensors)
    require_finite(tensors, where=str(path))
    write_tensors(
        path,
        lambda to, metadata: save_file(tensors, to, metadata=metadata),
        kind=STATE,
        about={**about, "tree": skeleton},
        check=check,
    )


def read_state(path: Path) -> tuple[Tree, dict[str, Any]]:
    """The structure that `write_state` wrote, and its `about`.

    Raises:
        CorruptError: truncated or damaged.
    """
    checkpoint = read_checkpoint(path)
    if checkpoint.kind != STATE or "tree" not in checkpoint.about:
        raise CorruptError("expected a saved state", where=str(path))
    about = dict(checkpoint.about)
    try:
        return _unflatten(about.pop("tree"), checkpoint.tensors), about
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorruptError(f"the saved state does not fit together: {error!r}", where=str(path)) from None
