import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ticketcli.errors import MismatchError
from ticketcli.store.mask import Mask

bools = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5))
masks = st.dictionaries(st.from_regex(r"[a-z][a-z0-9.]{0,8}", fullmatch=True), bools, min_size=1, max_size=4).map(Mask)


@given(masks)
def test_kept_and_dropped_add_up_to_all_weights(mask):
    assert mask.kept + mask.dropped == mask.total == sum(array.size for array in mask.values())
    assert mask.density + mask.sparsity == pytest.approx(1.0)


@given(masks)
def test_and_is_contained_in_both_and_or_contains_both(mask):
    other = Mask({name: ~array for name, array in mask.items()})
    assert (mask & other) <= mask <= (mask | other)
    assert (mask & other).kept == 0
    assert (mask | other).dropped == 0


@given(masks)
def test_containment_fails_as_soon_as_one_dead_weight_lives(mask):
    name = next(iter(mask))
    for index in np.argwhere(~mask[name])[:1]:
        grown = mask[name].copy()
        grown[tuple(index)] = True
        assert not Mask({**mask, name: grown}) <= mask


def test_a_mask_shares_no_storage_with_what_it_was_made_from():
    source = np.ones((2, 3), dtype=bool)
    mask = Mask({"w": source})
    source[0, 0] = False
    assert mask.kept == 6


def test_a_mask_cannot_be_changed():
    mask = Mask.full({"w": (2, 3)})
    with pytest.raises(ValueError, match="read-only"):
        mask["w"][0, 0] = False


def test_order_of_names_does_not_matter():
    assert Mask({"b": [True], "a": [False]}) == Mask({"a": [False], "b": [True]})
    assert list(Mask({"b": [True], "a": [False]})) == ["a", "b"]


def test_a_mask_of_another_architecture_is_refused_by_the_name_that_differs():
    with pytest.raises(MismatchError, match="the net has 'conv2', the mask has not"):
        Mask.full({"conv1": (2,)}).require_same_shapes({"conv1": (2,), "conv2": (2,)}, of="the net")


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(MismatchError, match=r"the mask is \(2,\), the net is \(3,\)"):
        Mask.full({"conv1": (2,)}).require_same_shapes({"conv1": (3,)}, of="the net")


def test_overlap_is_intersection_over_union():
    assert Mask({"w": [1, 1, 0, 0]}).overlap(Mask({"w": [1, 0, 1, 0]})) == pytest.approx(1 / 3)
