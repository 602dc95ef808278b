import json
import struct

import numpy as np
import pytest
from hypothesis import given
from safetensors.numpy import save_file

from tests.store.test_mask import masks
from ticketcli.errors import CorruptError, InputMissing
from ticketcli.store.codec import pack, read_mask, unpack, write_mask
from ticketcli.store.mask import Mask
from ticketcli.store.tensorfile import content_digest, metadata_for, read_header


@given(masks)
def test_unpacking_what_was_packed_gives_the_same_mask(mask):
    assert unpack(pack(mask), mask.shapes) == mask


def test_the_packed_bytes_are_fixed_for_ever():
    mask = Mask({"w": np.array([[1, 0, 0, 0, 0], [0, 0, 1, 1, 0]], dtype=bool)})
    assert pack(mask)["w"].tolist() == [0b10000001, 0b00000001]


def test_a_mask_file_reads_back_with_its_provenance(tmp_path):
    mask = Mask({"layer1.w": [[True, False], [True, True]], "a.w": [False]})
    write_mask(tmp_path / "m.mask.safetensors", mask, {"round": 7})
    read, about = read_mask(tmp_path / "m.mask.safetensors")
    assert read == mask
    assert about == {"round": 7}


def test_the_same_mask_is_written_as_the_same_bytes(tmp_path):
    mask = Mask({f"w{i}": np.arange(i + 3) % 2 == 0 for i in range(20)})
    for name in range(12):  # the library writes several metadata keys in random order
        write_mask(tmp_path / str(name), mask, {"round": 1, "criterion": "magnitude"})
    assert len({(tmp_path / str(name)).read_bytes() for name in range(12)}) == 1


def test_a_mask_takes_one_bit_a_weight(tmp_path):
    mask = Mask.full({f"layer{i}.conv": (64, 64, 3, 3) for i in range(8)})
    write_mask(tmp_path / "m", mask, {})
    assert (tmp_path / "m").stat().st_size < mask.total / 8 + 2000


def test_a_zero_weight_that_lives_stays_alive(tmp_path):
    """Masks are files of their own, never inferred from w != 0 (peer defect 4)."""
    mask = Mask({"w": [True, True, False]})
    write_mask(tmp_path / "m", mask, {})
    assert read_mask(tmp_path / "m")[0].kept == 2


def damaged(path, mask=None, **changes):
    mask = mask or Mask({"w": [True, False, True]})
    about = {"shapes": {"w": [3]}, "kept": {"w": 2}, "total": 3, **changes}
    save_file(pack(mask), path, metadata=metadata_for("mask", about))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kept": {"w": 1}}, "not as many as recorded"),
        ({"total": 4}, "not as many as recorded"),
        ({"shapes": {"w": [17]}}, "1 bytes where its shape"),
        ({"shapes": {"v": [3]}}, "different names"),
        ({"shapes": {"w": [2]}}, "beyond the last weight"),
        ({"shapes": 3}, "not usable"),
    ],
)
def test_a_mask_that_does_not_fit_its_own_record_is_refused(tmp_path, changes, message):
    damaged(tmp_path / "m", **changes)
    with pytest.raises(CorruptError, match=message):
        read_mask(tmp_path / "m")


def test_a_truncated_mask_is_refused(tmp_path):
    write_mask(tmp_path / "m", Mask.full({"w": (100,)}), {})
    whole = (tmp_path / "m").read_bytes()
    for length in (0, 5, 20, len(whole) - 1):
        (tmp_path / "m").write_bytes(whole[:length])
        with pytest.raises(CorruptError, match="cannot use this file"):
            read_mask(tmp_path / "m")


def test_a_checkpoint_is_not_taken_for_a_mask(tmp_path):
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "c", metadata=metadata_for("dense", {}))
    with pytest.raises(CorruptError, match="expected a mask, this is dense"):
        read_mask(tmp_path / "c")


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(InputMissing, match="no such file"):
        read_mask(tmp_path / "none")


def raw_file(path, header: bytes, data: bytes = b""):
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def entry(begin, end, shape=(1,), dtype="U8"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        (f'{{"a":{json.dumps(entry(0, 1))},"a":{json.dumps(entry(0, 1))}}}'.encode(), b"x", "given twice"),
        (json.dumps({"../etc": entry(0, 1)}).encode(), b"x", "not one that this tool"),
        (json.dumps({"a": entry(0, 2)}).encode(), b"xx", "has 2 bytes"),
        (json.dumps({"a": entry(0, 1), "b": entry(0, 1)}).encode(), b"x", "overlap"),
        (json.dumps({"a": entry(1, 2)}).encode(), b"xx", "leave gaps"),
        (json.dumps({"a": entry(0, 1)}).encode(), b"xx", "asks for"),
        (json.dumps({"a": entry(0, 1, dtype="PICKLE")}).encode(), b"x", "unknown type"),
        (json.dumps({"a": entry(0, 1, shape=(-1,))}).encode(), b"x", "shape"),
        (b"[]", b"", "no JSON object"),
        (b"\xff\xfe", b"", "cannot use"),
    ],
)  # fmt: skip
def test_a_header_that_attacks_is_refused(tmp_path, header, data, message):
    raw_file(tmp_path / "a", header, data)
    with pytest.raises(CorruptError, match=message):
        read_header(tmp_path / "a")


def test_a_header_longer_than_the_file_is_refused_without_reading_it(tmp_path):
    (tmp_path / "a").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(CorruptError, match="truncated"):
        read_header(tmp_path / "a")


def test_one_flipped_bit_changes_the_content_digest(tmp_path):
    save_file({"w": np.arange(8, dtype=np.float32)}, tmp_path / "a", metadata=metadata_for("dense", {}))
    before = content_digest(tmp_path / "a")
    raw = bytearray((tmp_path / "a").read_bytes())
    raw[-1] ^= 1
    (tmp_path / "a").write_bytes(raw)
    assert content_digest(tmp_path / "a") != before


def test_provenance_does_not_change_the_content_digest(tmp_path):
    for name, about in (("a", {"seed": 1}), ("b", {"seed": 2, "more": "words"})):
        save_file({"w": np.arange(8, dtype=np.float32)}, tmp_path / name, metadata=metadata_for("dense", about))
    assert content_digest(tmp_path / "a") == content_digest(tmp_path / "b")
