"""The memory of a state is given back, also where nobody goes back for gradients."""

import gc
import weakref

import pytest
import torch

from ticketcli.models import gunn_layer
from ticketcli.models.gunn_layer import GunnLayer
from ticketcli.models.shared_state import SharedState


def test_a_pass_that_nobody_goes_back_from_leaves_no_memory_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[SharedState]] = []

    class Seen(SharedState):
        def __init__(self, x: torch.Tensor, sizes: list[int], dtype: torch.dtype) -> None:
            super().__init__(x, sizes, dtype)
            made.append(weakref.ref(self))

    monkeypatch.setattr(gunn_layer, "SharedState", Seen)
    GunnLayer(6, 3)(torch.ones(2, 6, 4, 4))
    gc.collect()
    assert [one() for one in made] == [None]
