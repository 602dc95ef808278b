import pytest
import torch

from ticketcli.errors import MismatchError
from ticketcli.models.foreign_names import by_order, fit, head_name

OWN = {
    "conv1.weight": torch.zeros(4, 3, 3, 3),
    "bn1.weight": torch.zeros(4),
    "bn1.num_batches_tracked": torch.zeros((), dtype=torch.int64),
    "fc.weight": torch.zeros(2, 4),
    "fc.bias": torch.zeros(2),
}


def theirs(prefix="", head="fc."):
    names = {name: name.replace("fc.", head) for name in OWN}
    return {prefix + names[name]: torch.full_like(value, 7) for name, value in OWN.items()}


def fitted(values, **settings):
    return fit(values, OWN, head="fc.", where="somewhere", **settings)


def test_equal_names_pass_unchanged():
    result = fitted(theirs())
    assert result.changes() == []
    assert result.values.keys() == OWN.keys()
    assert all((value == 7).all() for value in result.values.values())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module.model.", "backbone."])
def test_wrapper_prefixes_are_taken_away_and_said(prefix):
    result = fitted(theirs(prefix))
    assert result.values.keys() == OWN.keys()
    assert any("taken away" in words for words in result.changes())


@pytest.mark.parametrize("head", ["linear.", "classifier.", "head."])
def test_the_head_may_have_another_name(head):
    result = fitted(theirs(head=head))
    assert (result.values["fc.weight"] == 7).all()
    assert result.changes() == [f"'{head}' became 'fc.'"]


def test_a_missing_step_counter_is_set_to_zero_and_said():
    values = theirs()
    del values["bn1.num_batches_tracked"]
    result = fitted(values)
    assert int(result.values["bn1.num_batches_tracked"]) == 0
    assert result.changes() == ["1 BatchNorm step counters set to 0"]


def test_half_precision_becomes_float32_and_is_said():
    values = theirs()
    values["conv1.weight"] = values["conv1.weight"].to(torch.bfloat16)
    result = fitted(values)
    assert result.values["conv1.weight"].dtype == torch.float32
    assert result.changes() == ["1 tensors converted to float32"]


def test_everything_that_does_not_fit_is_named_at_once():
    values = theirs()
    del values["bn1.weight"]
    values["extra"] = torch.zeros(1)
    values["conv1.weight"] = torch.zeros(4, 3, 7, 7)
    with pytest.raises(MismatchError) as caught:
        fitted(values)
    for words in (
        "3 of 5 tensors fit",
        "1 missing: bn1.weight",
        "1 left over: extra",
        "conv1.weight (4x3x7x7, not 4x3x3x3)",
    ):
        assert words in caught.value.what


def test_weights_without_a_head_take_the_networks_own():
    values = {name: value for name, value in theirs().items() if not name.startswith("fc.")}
    assert head_name(values, "fc.") is None
    with pytest.raises(MismatchError, match=r"2 missing: fc\.weight, fc\.bias"):
        fitted(values)
    assert (fitted(values, without_head=True).values["fc.weight"] == 0).all()


def test_the_result_shares_no_storage_with_the_source():
    values = theirs()
    result = fitted(values)
    values["conv1.weight"].zero_()
    assert (result.values["conv1.weight"] == 7).all()


def renumbered():
    """The same tensors in the same order, under names that say nothing but what kind they are."""
    return {f"{place}.{name.rpartition('.')[2]}": value for place, (name, value) in enumerate(theirs().items())}


def test_matching_by_order_takes_foreign_names():
    found = by_order(renumbered(), OWN, where="w")
    assert list(found) == list(OWN)
    assert all((value == 7).all() for value in found.values())


def test_matching_by_order_refuses_another_shape_kind_or_length():
    values = renumbered()
    with pytest.raises(MismatchError, match="the file has 4 tensors, the network 5"):
        by_order(dict(list(values.items())[:-1]), OWN, where="w")
    swapped = {"0.bias" if name == "0.weight" else name: value for name, value in values.items()}
    with pytest.raises(MismatchError, match=r"'0\.bias' .* meets 'conv1\.weight'"):
        by_order(swapped, OWN, where="w")
    with pytest.raises(MismatchError, match="meets"):
        by_order({**values, "0.weight": torch.zeros(4, 3, 7, 7)}, OWN, where="w")


def test_matching_by_order_forgives_old_files_their_missing_counters():
    values = {name: value for name, value in renumbered().items() if "num_batches" not in name}
    assert list(by_order(values, OWN, where="w")) == [name for name in OWN if "num_batches" not in name]
