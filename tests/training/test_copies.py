"""What was captured of a training stays as it was, and its memory is used again only when it was given back."""

import copy

import torch

from tests.training.test_loop import encoder, half_mask, make_run
from ticketcli.tensors.files import read_state, write_state
from ticketcli.training.copies import Copies
from ticketcli.training.loop import train
from ticketcli.training.yields import Snapshot


def tensors(tree):
    if isinstance(tree, torch.Tensor):
        return [tree]
    values = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return [found for value in values for found in tensors(value)]


def equal(one, other):
    pairs = list(zip(tensors(one), tensors(other), strict=True))
    return bool(pairs) and all(torch.equal(a, b) for a, b in pairs)


def test_what_was_captured_does_not_change_while_training_goes_on():
    model, states = encoder(), []
    for optimizer in ("sgd", "adamw"):
        for event in train(make_run(model, half_mask(model), "6it", optimizer=optimizer), keep={1: "early", 5: "late"}):
            if isinstance(event, Snapshot):
                state = event.capture()
                states.append((state, copy.deepcopy(state)))
        for state, at_once in states:
            assert equal(state, at_once)
            assert state["kept"].keys() == at_once["kept"].keys()


def test_what_was_released_is_written_over_by_the_next_and_nothing_else_is():
    model, places, before = encoder(), [], None
    for event in train(make_run(model, None, "4it")):
        if isinstance(event, Snapshot):
            state = event.capture()
            assert equal(state["model"], model.state_dict())
            places.append({one.data_ptr() for one in tensors([state["model"], state["optimizer"]])})
            if before is None:
                event.release(state)  # the first alone
            before = state
    assert places[0] == places[1]
    assert not places[1] & places[2]
    assert not places[2] & places[3]


def test_memory_of_another_form_is_not_used():
    copies = Copies()
    copies.give_back(copies.of({"a": torch.zeros(4), "b": [torch.zeros(2, dtype=torch.int64)]}))
    found = copies.of({"a": torch.ones(2, 2), "b": [torch.ones(2)], "c": torch.ones(1), "d": "word"})
    assert equal(found, {"a": torch.ones(2, 2), "b": [torch.ones(2)], "c": torch.ones(1)})
    assert found["b"][0].dtype == torch.float32
    assert found["d"] == "word"


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    whole = torch.arange(6.0)
    write_state(tmp_path / "s", {"whole": whole, "part": whole[2:4], "turned": whole.view(2, 3).T}, about={})
    state, _ = read_state(tmp_path / "s")
    assert equal(state, {"whole": whole, "part": whole[2:4], "turned": whole.view(2, 3).T})
