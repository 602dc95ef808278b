"""What is left of all weights, or of each layer."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketcli.criteria.by_layer import Limit, shared_out
from ticketcli.criteria.layerwise.gram import Gram
from ticketcli.criteria.selection import Request, leave
from ticketcli.criteria.table import CRITERIA
from ticketcli.recipe.criterion_config import CALIBRATED, CHANNELWISE, INVERTING, Selecting
from ticketcli.store.mask import Mask

SHAPES = {"a": (4, 5), "b": (3, 2)}


def scores(seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=draw) for name, shape in SHAPES.items()}


@given(st.integers(1, 20), st.integers(0, 6), st.integers(0, 99))
def test_each_layer_keeps_its_count_and_its_largest(a, b, seed):
    values = scores(seed)
    found = leave(values, Mask.full(SHAPES), {"a": a, "b": b})
    assert found.kept_by_name == {"a": a, "b": b}
    for name, array in found.items():
        sizes = values[name].abs().numpy()
        if array.any() and not array.all():
            assert sizes[array].min() >= sizes[~array].max()


@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_rounds_of_counts_are_nested(criterion):
    first = CRITERIA[criterion](Request(scores(), Mask.full(SHAPES), {"a": 10, "b": 6}, 0))
    second = CRITERIA[criterion](Request(scores(), first, {"a": 4, "b": 2}, 0))
    assert second <= first
    assert second.kept_by_name == {"a": 4, "b": 2}


def test_one_ranking_gives_each_layer_what_its_scores_are_worth():
    values = {"a": torch.full((4, 5), 0.1), "b": torch.ones(3, 2)}
    assert shared_out(values, Mask.full(SHAPES), 8) == {"a": 2, "b": 6}
    half = Mask({"a": np.ones((4, 5)), "b": np.eye(3, 2)})
    assert shared_out(values, half, 3) == {"a": 1, "b": 2}, "what is dead counts for nothing"


def test_the_table_has_every_criterion_of_the_settings_and_agrees_on_what_it_does():
    names = [one for one in get_args(Selecting.model_fields["criterion"].annotation) if one not in CHANNELWISE]
    assert set(CRITERIA) == set(names)
    assert [name for name in names if hasattr(CRITERIA[name], "adjusts")] == list(CALIBRATED)
    assert [name for name in CALIBRATED if CRITERIA[name].adjusts] == list(INVERTING)


@pytest.mark.parametrize("criterion", CALIBRATED)
def test_a_criterion_adjusts_what_stays_if_it_says_so(criterion):
    draw = torch.Generator().manual_seed(1)
    weight, inputs = torch.randn(6, 5, generator=draw), torch.randn(400, 5, generator=draw, dtype=torch.float64)
    gram = Gram((inputs.T @ inputs / 400)[None], inputs.mean(dim=0)[None], 400, 1)
    alive = np.ones((6, 5), dtype=bool)
    made = CRITERIA[criterion].prune(weight, gram, alive, Limit(kept=15), centre=False, damping=None, seed=0)
    assert CRITERIA[criterion].adjusts != torch.equal(made.weight[made.mask], weight[made.mask])


@pytest.mark.parametrize("criterion", CALIBRATED)
def test_scores_of_layers_do_not_depend_on_the_size_of_what_goes_in(criterion):
    draw = torch.Generator().manual_seed(1)
    weight, inputs = torch.randn(6, 5, generator=draw), torch.randn(400, 5, generator=draw, dtype=torch.float64) + 1
    alive, found = np.ones((6, 5), dtype=bool), []
    for size in (1.0, 100.0):
        scaled = inputs * size
        gram = Gram((scaled.T @ scaled / 400)[None], scaled.mean(dim=0)[None], 400, 1)
        found.append(CRITERIA[criterion].scores(weight, gram, alive, centre=False, damping=None, seed=0))
    torch.testing.assert_close(found[1], found[0])
    assert found[0].dtype == torch.float32
    assert 1e-4 < float(found[0].square().sum()) < 30, "relative to what the layer gives"
