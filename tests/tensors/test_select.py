import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketcli.errors import DivergedError, MismatchError, UsageError
from ticketcli.store.mask import Mask
from ticketcli.tensors import bracket, select
from ticketcli.tensors.select import drop_count, drop_smallest


@st.composite
def nets(draw, values=(-1.0, 0.0, 1.0)):
    """A few small tensors and a mask under which at least two weights live."""
    shapes = draw(st.lists(st.sampled_from([(1,), (3,), (2, 3), (4, 1, 2), (17,)]), min_size=1, max_size=4))
    shapes.append((3,))
    weights, alive = {}, {}
    for number, shape in enumerate(shapes):
        size = int(np.prod(shape))
        data = draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))
        weights[f"w{number}"] = torch.tensor(data, dtype=torch.float32).reshape(shape)
        lives = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        alive[f"w{number}"] = np.array(lives).reshape(shape)
    mask = Mask(alive)
    return weights, mask if mask.kept >= 2 else Mask.full(mask.shapes)


def reference(weights, mask, count):
    """The definition, in plain words: sort the living by (magnitude, name, index), drop the first `count`."""
    ranked = sorted(
        (abs(float(weights[name].reshape(-1)[index])), name, index)
        for name, array in mask.items()
        for index in np.flatnonzero(array.reshape(-1))
    )
    kept = {name: array.copy().reshape(-1) for name, array in mask.items()}
    for _, name, index in ranked[:count]:
        kept[name][index] = False
    return Mask({name: array.reshape(mask[name].shape) for name, array in kept.items()})


@given(nets(), st.floats(0.01, 0.99))
def test_drops_exactly_what_was_asked_even_when_all_weights_tie(net, fraction):
    """Peer defect 6: k + 1 weights, and all ties, fell."""
    weights, before = net
    count = round(fraction * before.kept)
    if not 1 <= count < before.kept:
        return
    after = drop_smallest(weights, before, fraction=fraction)
    assert before.kept - after.kept == count
    assert after <= before


@given(nets(values=(-2.0, -0.0, 0.0, 1e-45, -1e-40, 1e-38, 0.5, 0.5000001, 3e38)), st.data())
def test_agrees_with_the_definition_in_plain_words(net, data):
    weights, mask = net
    count = data.draw(st.integers(1, mask.kept - 1))
    assert drop_count(weights, mask, count=count) == reference(weights, mask, count)


@given(nets(), st.data())
def test_chunks_do_not_matter(net, data):
    weights, mask = net
    count = data.draw(st.integers(1, mask.kept - 1))
    whole = drop_count(weights, mask, count=count)
    before = select.CHUNK
    try:
        select.CHUNK = data.draw(st.integers(1, 7))
        assert drop_count(weights, mask, count=count) == whole
    finally:
        select.CHUNK = before


@given(nets(), st.data())
def test_what_a_dead_weight_holds_does_not_matter(net, data):
    weights, mask = net
    count = data.draw(st.integers(1, mask.kept - 1))
    values = itertools.cycle([float("nan"), float("inf"), -5.0, 1e-45])
    odd = {
        name: torch.where(torch.from_numpy(mask[name].copy()), weight, torch.tensor(next(values)))
        for name, weight in weights.items()
    }
    assert drop_count(odd, mask, count=count) == drop_count(weights, mask, count=count)


@given(nets(), st.integers(1, 6))
def test_masks_are_nested_round_after_round(net, rounds):
    """Peer defect 12: masks recomputed from scratch revive weights."""
    weights, mask = net
    for _ in range(rounds):
        if mask.kept < 2 or round(0.4 * mask.kept) in (0, mask.kept):
            return
        after = drop_smallest({name: weight + 0.1 for name, weight in weights.items()}, mask, fraction=0.4)
        assert after <= mask
        mask = after


def test_ties_fall_by_name_and_then_by_index():
    weights = {"b": torch.zeros(3), "a": torch.zeros(2)}
    after = drop_count(weights, Mask.full({"b": (3,), "a": (2,)}), count=3)
    assert after["a"].tolist() == [False, False]
    assert after["b"].tolist() == [False, True, True]


def test_the_order_of_the_dicts_does_not_matter():
    weights = {"b": torch.zeros(3), "a": torch.zeros(2), "c": torch.zeros(2)}
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    turned = dict(reversed(weights.items()))
    mask, mask_turned = Mask.full(shapes), Mask.full(dict(reversed(shapes.items())))
    assert drop_count(weights, mask, count=4) == drop_count(turned, mask_turned, count=4)


def test_minus_zero_ties_with_zero_and_lies_below_the_smallest_denormal():
    weights = {"w": torch.tensor([1e-45, 0.0, -0.0, -1e-45])}
    mask = Mask.full({"w": (4,)})
    assert drop_count(weights, mask, count=1)["w"].tolist() == [True, False, True, True]
    assert drop_count(weights, mask, count=2)["w"].tolist() == [True, False, False, True]
    assert drop_count(weights, mask, count=3)["w"].tolist() == [False, False, False, True]


@pytest.mark.parametrize("chunk", [1, 7, 1 << 18])
def test_places_are_counted_in_c_order_whatever_the_layout_in_memory(chunk, monkeypatch):
    monkeypatch.setattr(select, "CHUNK", chunk)
    plain = (torch.arange(120) % 5).float().reshape(5, 3, 4, 2)  # many ties: a wrong place changes the mask
    mask = Mask({"w": np.arange(120).reshape(5, 3, 4, 2) % 3 > 0})
    odd = [plain.to(memory_format=torch.channels_last), plain.transpose(0, 2).contiguous().transpose(0, 2)]
    for weight in odd:
        assert not weight.is_contiguous()
        assert drop_count({"w": weight}, mask, count=37) == reference({"w": plain}, mask, 37)


@pytest.mark.parametrize("shape", [(4096, 512, 2, 2), (3, 400_000, 2, 2)], ids=["rows", "rows wider than a chunk"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_no_temporary_is_full_size_even_when_one_tensor_is_all_of_the_data(layout, shape):
    weight = torch.randn(shape).to(memory_format=layout)
    own, row = weight.untyped_storage().data_ptr(), weight[0].numel()
    pieces = list(select._pieces(weight))
    assert max(piece.numel() for piece in pieces) <= select.CHUNK
    assert sum(piece.numel() for piece in pieces) == weight.numel()
    for piece in pieces:  # a view, or a copy of a few rows
        storage = piece.untyped_storage()
        assert storage.data_ptr() == own or storage.nbytes() <= 4 * max(select.CHUNK, row)


def test_real_sizes_agree_with_numpy():
    weights = {f"w{i}": torch.randn(64, 48, 3, 3, generator=torch.Generator().manual_seed(i)) for i in range(6)}
    mask = Mask.full({name: tuple(weight.shape) for name, weight in weights.items()})
    for _ in range(5):
        after = drop_smallest(weights, mask, fraction=0.2)
        living = np.concatenate([weights[name].numpy()[mask[name]] for name in mask])
        threshold = np.partition(np.abs(living), round(0.2 * mask.kept))[round(0.2 * mask.kept)]
        assert after == Mask({name: mask[name] & (np.abs(weights[name].numpy()) >= threshold) for name in mask})
        mask = after


def test_half_precision_ranks_as_its_float32_values():
    weights = {"w": torch.tensor([3.0, -1.0, 2.0, 0.5])}
    mask = Mask.full({"w": (4,)})
    for dtype in (torch.float16, torch.bfloat16):
        half = {"w": weights["w"].to(dtype)}
        assert drop_count(half, mask, count=2) == drop_count(weights, mask, count=2)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, 0.0, float("nan")])
def test_a_fraction_outside_zero_and_one_is_refused(fraction):
    with pytest.raises(UsageError, match="fraction is"):
        drop_smallest({"w": torch.ones(4)}, Mask.full({"w": (4,)}), fraction=fraction)


def test_a_round_that_would_drop_nothing_is_refused():
    with pytest.raises(UsageError, match="would drop nothing"):
        drop_smallest({"w": torch.ones(4)}, Mask.full({"w": (4,)}), fraction=0.1)


@pytest.mark.parametrize("count", [0, 4, 5, -1])
def test_dropping_none_or_all_is_refused_instead_of_an_index_error(count):
    with pytest.raises(UsageError, match="cannot drop"):
        drop_count({"w": torch.ones(4)}, Mask.full({"w": (4,)}), count=count)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_living_weight_that_is_not_finite_is_named(bad):
    weights = {"a": torch.ones(3), "b": torch.tensor([1.0, bad, 2.0])}
    with pytest.raises(DivergedError, match="'b' are not finite"):
        drop_count(weights, Mask.full({"a": (3,), "b": (3,)}), count=1)


def test_missing_and_misshapen_tensors_are_named():
    mask = Mask.full({"w": (4,)})
    with pytest.raises(MismatchError, match="lack 'w'"):
        drop_count({"v": torch.ones(4)}, mask, count=1)
    with pytest.raises(MismatchError, match=r"is \(2, 2\), its mask \(4,\)"):
        drop_count({"w": torch.ones(2, 2)}, mask, count=1)
    with pytest.raises(MismatchError, match="float64"):
        drop_count({"w": torch.ones(4, dtype=torch.float64)}, mask, count=1)


def test_equal_weights_give_equal_masks_in_processes_of_any_thread_count():
    code = (
        "import sys, hashlib, torch\n"
        "from ticketcli.store.codec import pack\nfrom ticketcli.store.mask import Mask\n"
        "from ticketcli.tensors.select import drop_smallest\n"
        "torch.set_num_threads(int(sys.argv[1]))\n"
        "w = {n: (torch.arange(50000) * k % 997 - 498).float() / 64 for n, k in (('a', 7), ('b', 13))}\n"
        "m = drop_smallest(w, Mask.full({n: (50000,) for n in w}), fraction=0.37)\n"
        "print(hashlib.sha256(b''.join(p.tobytes() for p in pack(m).values())).hexdigest())\n"
    )
    found = {
        subprocess.run([sys.executable, "-c", code, threads], capture_output=True, text=True, check=True).stdout
        for threads in ("1", "2")
    }
    assert len(found) == 1


@pytest.fixture
def sampled(monkeypatch):
    """Every seventh weight makes the sample, as every 199th does of many; says what one read found."""
    monkeypatch.setattr(bracket, "_SAMPLE", 100)
    monkeypatch.setattr(bracket, "_STRIDES", (7,))

    def drop(weights, mask, count):
        return bracket.drop_in_one_read(weights, mask, count, select._pieces)

    return drop


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.97])
def test_one_read_gives_what_the_histograms_give(share, whole, sampled, monkeypatch):
    monkeypatch.setattr(bracket, "_MOST", 0.5)
    draw = torch.Generator().manual_seed(3)
    weights = {name: (torch.randn(50, 40, generator=draw) * 400).round() / 400 for name in "ab"}  # with ties
    mask = Mask(
        {
            name: np.ones((50, 40), bool) if whole else (torch.rand(50, 40, generator=draw) > 0.6).numpy()
            for name in "ab"
        }
    )
    count = round(share * mask.kept)
    found = sampled(weights, mask, count)
    assert found is not None
    assert found == select._by_histograms(weights, mask, count)


def test_one_read_says_nothing_where_the_sample_misleads(sampled):
    weights = {"w": torch.arange(1.0, 7001.0)}
    weights["w"][::7] = 9000.0  # all that is sampled is large
    assert sampled(weights, Mask.full({"w": (7000,)}), 3000) is None
    assert drop_count(weights, Mask.full({"w": (7000,)}), count=3000)["w"].sum() == 4000


def test_one_read_says_nothing_where_too_many_weights_are_equal(sampled):
    weights = {"w": torch.ones(200_000)}
    assert sampled(weights, Mask.full({"w": (200_000,)}), 3000) is None
    assert drop_count(weights, Mask.full({"w": (200_000,)}), count=3000)["w"].argmax() == 3000
