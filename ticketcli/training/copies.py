"""Copies of what a training goes on to change, so that it can be written while it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


class Copies:
    """Copies nested mappings, lists and tensors. What is given back is used for the next: memory that is new has to be
    asked of the system page by page, which takes several times as long as copying.
    """

    def __init__(self) -> None:
        self._spare: dict[str, Tensor] = {}

    @torch.no_grad()
    def of(self, tree: Any) -> Any:
        """The same structure with tensors of its own, each where the original lies."""
        spare, self._spare = self._spare, {}
        return self._copy(tree, "", spare)

    def give_back(self, tree: Any) -> None:
        """A structure that `of` made is no longer needed: its memory may be written over."""
        self._spare = dict(_tensors(tree, ""))

    def _copy(self, tree: Any, place: str, spare: dict[str, Tensor]) -> Any:
        if isinstance(tree, Tensor):
            found = spare.get(place)
            if found is None or not _alike(found, tree):
                found = torch.empty_like(tree, requires_grad=False)
            return found.copy_(tree.detach())
        if isinstance(tree, Mapping):
            return {key: self._copy(value, f"{place}/{key}", spare) for key, value in tree.items()}
        if isinstance(tree, list | tuple):
            return [self._copy(value, f"{place}/{key}", spare) for key, value in enumerate(tree)]
        return tree


def _alike(one: Tensor, other: Tensor) -> bool:
    return (one.shape, one.stride(), one.dtype, one.device) == (other.shape, other.stride(), other.dtype, other.device)


def _tensors(tree: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(tree, Tensor):
        yield place, tree
    elif isinstance(tree, Mapping | list | tuple):
        items = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
        for key, value in items:
            yield from _tensors(value, f"{place}/{key}")
