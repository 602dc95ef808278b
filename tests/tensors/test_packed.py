import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketcli.errors import CorruptError, DivergedError, MismatchError
from ticketcli.store.mask import Mask
from ticketcli.store.packed import read_layout
from ticketcli.store.tensorfile import content_digest
from ticketcli.tensors.digest import digest_of
from ticketcli.tensors.files import write_checkpoint
from ticketcli.tensors.packed import packed_bytes, read_packed, stored, unpacked, write_packed


def network(*, sparsity=0.7, seed=0):
    """Tensors of a small checkpoint, and a mask of two of them."""
    draw = torch.Generator().manual_seed(seed)
    tensors = {
        "a.weight": torch.randn(5, 3, 3, 3, generator=draw),
        "b.weight": torch.randn(7, 11, generator=draw),
        "bn.running_mean": torch.randn(5, generator=draw),
        "bn.num_batches_tracked": torch.tensor(9),
    }
    bits = {name: torch.rand(tensors[name].shape, generator=draw) >= sparsity for name in ("a.weight", "b.weight")}
    return tensors, Mask({name: bit.numpy() for name, bit in bits.items()})


def test_what_is_packed_comes_back_bit_by_bit_and_dropped_weights_as_plus_zero(tmp_path):
    tensors, mask = network()
    tensors["b.weight"][0] = -0.0  # where it lives it stays -0.0
    write_packed(tmp_path / "x.ticket.safetensors", tensors, mask, values="fp32", about={"of": "ticket"})
    found = read_packed(tmp_path / "x.ticket.safetensors")
    assert found.mask == mask
    assert found.about["of"] == "ticket"
    assert found.tensors.keys() == tensors.keys()
    for name, value in tensors.items():
        alive = torch.from_numpy(mask[name].copy()) if name in mask else torch.ones(value.shape, dtype=torch.bool)
        back = found.tensors[name]
        assert back.dtype == value.dtype
        assert torch.equal(back[alive].view(-1), value[alive].view(-1))
        assert torch.equal(torch.signbit(back[alive].float()), torch.signbit(value[alive].float()))
        assert not torch.signbit(back[~alive].float()).any()
        assert not back[~alive].any()


def test_bf16_brings_back_the_nearest_bf16_of_what_lives_and_the_rest_exactly(tmp_path):
    tensors, mask = network()
    write_packed(tmp_path / "x.ticket.safetensors", tensors, mask, values="bf16", about={})
    found = read_packed(tmp_path / "x.ticket.safetensors").tensors
    alive = torch.from_numpy(mask["a.weight"].copy())
    assert torch.equal(found["a.weight"][alive], tensors["a.weight"][alive].bfloat16().float())
    assert not torch.equal(found["a.weight"][alive], tensors["a.weight"][alive])
    assert torch.equal(found["bn.running_mean"], tensors["bn.running_mean"])
    assert found["a.weight"].dtype == torch.float32


@given(
    st.lists(st.lists(st.booleans(), min_size=1, max_size=30), min_size=1, max_size=4),
    st.sampled_from(["fp32", "bf16"]),
)
def test_any_mask_comes_back_with_all_none_or_some_weights_alive(tmp_path_factory, bits, values):
    path = tmp_path_factory.mktemp("any") / "x.ticket.safetensors"
    mask = Mask({f"w{place}": row for place, row in enumerate(bits)})
    tensors = {name: torch.arange(1, array.size + 1).float() for name, array in mask.items()}
    write_packed(path, tensors, mask, values=values, about={})
    found = read_packed(path)
    assert found.mask == mask
    assert all(torch.equal(found.tensors[name], tensors[name] * torch.from_numpy(mask[name].copy())) for name in mask)
    layout = read_layout(path)
    assert (layout.kept, layout.total) == (mask.kept_by_name, mask.total)


def test_what_unpacked_promises_is_what_the_file_gives(tmp_path):
    tensors, mask = network()
    for values in ("fp32", "bf16"):
        write_packed(tmp_path / "x.ticket.safetensors", tensors, mask, values=values, about={})
        assert digest_of(read_packed(tmp_path / "x.ticket.safetensors").tensors) == digest_of(
            unpacked(tensors, mask, values)
        )


def test_bytes_are_a_bit_a_weight_four_or_two_for_each_that_lives_and_the_rest():
    tensors, mask = network()
    rest = 5 * 4 + 8
    bits = (5 * 27 + 7) // 8 + (77 + 7) // 8
    assert packed_bytes(tensors, mask, "fp32") == bits + 4 * mask.kept + rest
    assert packed_bytes(tensors, mask, "bf16") == bits + 2 * mask.kept + rest


def test_a_resnet50_is_packed_to_the_shares_that_are_promised(tmp_path):
    """By its own counts of weights: 25,557,032 with 1000 classes, 23,445,504 of them prunable."""
    prunable, others = 23_445_504, 25_557_032 - 23_445_504 + 53_120  # BatchNorm's statistics are buffers
    dense = 4 * (prunable + others)
    for sparsity, bound in ((0.7903, 0.32), (0.9141, 0.20)):
        packed = prunable / 8 + 4 * (round((1 - sparsity) * prunable) + others)
        assert packed / dense <= bound


def test_values_beneath_the_mask_are_not_in_the_file(tmp_path):
    tensors, mask = network()
    secret = dict(tensors)
    secret["a.weight"] = torch.where(torch.from_numpy(mask["a.weight"].copy()), tensors["a.weight"], 123.0)
    for name, one in (("x", tensors), ("y", secret)):
        write_packed(tmp_path / f"{name}.ticket.safetensors", one, mask, values="fp32", about={})
    assert (tmp_path / "x.ticket.safetensors").read_bytes() == (tmp_path / "y.ticket.safetensors").read_bytes()


def test_heads_lie_beside_the_backbone_that_they_share(tmp_path):
    tensors, mask = network()
    heads = {"one": {"fc.weight": torch.ones(2, 3)}, "two": {"fc.weight": torch.zeros(4, 3), "fc.bias": torch.ones(4)}}
    about = {"heads": {"one": {}, "two": {}}}
    write_packed(tmp_path / "x.ticket.safetensors", tensors, mask, values="fp32", about=about, heads=heads)
    found = read_packed(tmp_path / "x.ticket.safetensors")
    assert found.heads.keys() == heads.keys()
    assert all(torch.equal(found.heads[h][n], value) for h, own in heads.items() for n, value in own.items())


def test_a_bundle_of_a_dense_backbone_has_no_mask(tmp_path):
    tensors, _ = network()
    about = {"heads": {"one": {}}}
    heads = {"one": {"fc.weight": torch.ones(1)}}
    write_packed(tmp_path / "x.ticket.safetensors", tensors, None, values="bf16", about=about, heads=heads)
    found = read_packed(tmp_path / "x.ticket.safetensors")
    assert found.mask is None
    assert all(torch.equal(found.tensors[name], value) for name, value in tensors.items())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda t: t.pop("a.weight"), MismatchError, "not there"),
        (lambda t: t.update({"a.weight": torch.ones(3)}), MismatchError, r"the weights are \(3,\)"),
        (lambda t: t.update({"a.weight": t["a.weight"].double()}), MismatchError, "are float32"),
        (lambda t: t["a.weight"].fill_(float("nan")), DivergedError, "is not finite"),
    ],
)
def test_what_does_not_fit_or_is_not_finite_is_refused_and_nothing_is_written(tmp_path, change, error, words):
    tensors, mask = network()
    change(tensors)
    with pytest.raises(error, match=words):
        write_packed(tmp_path / "x.ticket.safetensors", tensors, mask, values="fp32", about={})
    assert not list(tmp_path.iterdir())


def test_a_writer_that_writes_something_else_leaves_no_file(tmp_path, monkeypatch):
    from ticketcli.tensors import packed

    tensors, mask = network()
    right = packed.save_file
    monkeypatch.setattr(
        packed, "save_file", lambda own, *given, **how: right({n: v * 2 for n, v in own.items()}, *given, **how)
    )
    with pytest.raises(CorruptError, match="does not come back"):
        write_packed(tmp_path / "x.ticket.safetensors", tensors, mask, values="fp32", about={})
    assert not list(tmp_path.iterdir())


def test_the_digest_of_tensors_is_the_digest_of_the_file_that_holds_them(tmp_path):
    tensors = {
        "w": torch.randn(3, 4),
        "h": torch.randn(5).bfloat16(),
        "n": torch.tensor(3),
        "b": torch.tensor([True, False]),
        "none": torch.zeros(0, 3),
    }
    write_checkpoint(tmp_path / "x.safetensors", tensors, kind="dense", about={})
    assert digest_of(tensors) == content_digest(tmp_path / "x.safetensors")
    assert digest_of({**tensors, "n": torch.tensor(4)}) != digest_of(tensors)


def test_stored_parts_do_not_share_memory_with_the_network():
    tensors, mask = network()
    parts = stored(tensors, mask, "fp32")
    tensors["a.weight"].zero_()
    assert parts["kept/a.weight"].abs().sum() > 0
    assert np.unpackbits(parts["mask/b.weight"].numpy(), bitorder="little").sum() == mask["b.weight"].sum()
