"""Fitting a foreign state dict to a network: every key and every shape accounted for, every change said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ticketcli.errors import MismatchError

_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "encoder.", "backbone.", "network.")
_HEADS = ("fc.", "linear.", "classifier.", "head.")  # what others call the one linear layer at the end
_COUNTER = "num_batches_tracked"
_SHOWN = 4


@dataclass(frozen=True)
class Fitted:
    """Values under the network's own names and types, and what was done to get there.

    Attributes:
        values: name -> tensor, float32 where floating.
        renamed: the prefix that was taken away or exchanged -> what stands there now.
        converted: names whose type was changed to float32.
        counters: BatchNorm step counters that old files lack, set to 0; no result depends on them.
    """

    values: dict[str, Tensor]
    renamed: dict[str, str] = field(default_factory=dict)
    converted: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()

    def changes(self) -> list[str]:
        """The changes in words, for people and for the checkpoint's own record."""
        words = [f"'{old}' became '{new}'" if new else f"'{old}' taken away" for old, new in self.renamed.items()]
        words += [f"{len(self.converted)} tensors converted to float32"] if self.converted else []
        words += [f"{len(self.counters)} BatchNorm step counters set to 0"] if self.counters else []
        return words


def unwrap(values: Mapping[str, Tensor], renamed: dict[str, str]) -> dict[str, Tensor]:
    """Take away prefixes that every name has, as data-parallel wrappers leave them; recorded in `renamed`."""
    found = dict(values)
    while prefix := next((p for p in _WRAPPERS if found and all(name.startswith(p) for name in found)), None):
        found = {name.removeprefix(prefix): value for name, value in found.items()}
        renamed[prefix] = ""
    return found


def head_name(values: Mapping[str, Tensor], head: str) -> str | None:
    """The prefix under which `values` keep the classifier, where the network calls it `head`; None without one."""
    for prefix in (head, *_HEADS):
        weight = values.get(f"{prefix}weight")
        if weight is not None and weight.ndim == 2:
            return prefix
    return None


def by_order(values: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """`values` under the names of `expected`, for files whose names differ but whose tensors come in the same order.

    Raises:
        MismatchError: at the first tensor whose shape, or last part of its name, is not the expected one's.
    """
    if not any(name.endswith(_COUNTER) for name in values):  # as in old files
        expected = {name: value for name, value in expected.items() if not name.endswith(_COUNTER)}
    pairs = list(zip(values.items(), expected.items(), strict=False))
    for (theirs, value), (own, wanted) in pairs:
        if value.shape != wanted.shape or theirs.rpartition(".")[2] != own.rpartition(".")[2]:
            raise MismatchError(
                f"by order '{theirs}' ({tuple(value.shape)}) meets '{own}' ({tuple(wanted.shape)})",
                where=where,
                hint="name the architecture that these weights are of with arch",
            )
    if len(values) != len(expected):
        raise MismatchError(f"the file has {len(values)} tensors, the network {len(expected)}", where=where)
    return {own: value for (_, value), (own, _) in pairs}


def fit(
    values: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, head: str, where: str, without_head: bool = False
) -> Fitted:
    """Bring foreign `values` under the `expected` names, shapes and types.

    Args:
        values: a state dict from elsewhere.
        expected: the network's own state dict; its values are not read, but for the head's in `without_head`.
        head: prefix of the classifier in `expected`, such as ``fc.``.
        where: the source, for errors.
        without_head: take the classifier from `expected`, because the source has none.

    Raises:
        MismatchError: a key is missing or left over, or a shape differs; the first few are named.
    """
    renamed: dict[str, str] = {}
    found = unwrap(values, renamed)
    theirs = head_name(found, head)
    if theirs not in (None, head):
        assert theirs is not None
        found = {
            (head + name.removeprefix(theirs) if name.startswith(theirs) else name): v for name, v in found.items()
        }
        renamed[theirs] = head
    if without_head:
        found |= {name: value for name, value in expected.items() if name.startswith(head)}
    counters = tuple(name for name in expected if name.endswith(_COUNTER) and name not in found)
    found |= {name: torch.zeros_like(expected[name]) for name in counters}
    _account(found, expected, where)
    converted = tuple(
        name for name in expected if found[name].is_floating_point() and found[name].dtype != torch.float32
    )
    own = {
        name: found[name].to(torch.float32 if found[name].is_floating_point() else expected[name].dtype)
        for name in expected
    }
    return Fitted({name: value.contiguous().clone() for name, value in own.items()}, renamed, converted, counters)


def _account(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    missing = [name for name in expected if name not in found]
    left_over = [name for name in found if name not in expected]
    other = [
        f"{name} ({'x'.join(map(str, found[name].shape))}, not {'x'.join(map(str, expected[name].shape))})"
        for name in expected
        if name in found and found[name].shape != expected[name].shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        for what, names in (("missing", missing), ("left over", left_over), ("of another shape", other))
        if names
    ]
    if problems:
        fitting = len(expected) - len(missing) - len(other)
        raise MismatchError(
            f"{fitting} of {len(expected)} tensors fit; " + "; ".join(problems),
            where=where,
            hint="name the architecture that these weights are of with arch",
        )
