import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.annotations.small_set import BLOCK, changed, document, write
from ticketcli.annotations.coco import annotations_of, document_of
from ticketcli.annotations.document import load_document
from ticketcli.annotations.inspection import inspect
from ticketcli.annotations.layout import part_of_file
from ticketcli.errors import CorruptError, InputMissing, TicketError


def looked_through(path):
    (found,) = inspect([part_of_file(path)])
    return found


def read(root, content):
    return looked_through(write(root, content)).annotations


def test_pictures_come_in_the_files_order_and_empty_ones_stay(tmp_path):
    found = read(tmp_path, document())
    assert [(one.id, one.file_name, one.height, one.width) for one in found.pictures] == [
        (7, "007.png", 40, 60), (3, "003.png", 33, 50), (12, "012.png", 64, 41),
    ]  # fmt: skip
    assert [[one.id for one in picture.instances] for picture in found.pictures] == [[1, 5, 4], [2, 9], []]


def test_categories_with_gaps_are_labelled_in_the_order_of_their_ids(tmp_path):
    found = read(tmp_path, document())
    assert found.category_ids == (2, 13, 90)
    assert found.class_names == ("cup", "sign", "brush")
    assert [one.label for one in found.pictures[0].instances] == [2, 0, 1]


def test_what_an_instance_says(tmp_path):
    first, block, boxed = read(tmp_path, document()).pictures[0].instances
    crowd, packed = read(tmp_path, document()).pictures[1].instances
    assert first.box == (5.0, 6.0, 10.5, 8.0)
    assert first.segmentation == [[5, 6, 15, 6, 15, 14], [5, 6, 8.5, 6, 8, 14, 5, 14]]
    assert boxed.segmentation is None
    assert (crowd.crowd, packed.crowd, block.crowd) == (True, False, False)
    assert packed.segmentation["counts"] == "R14m0000]_1"


def test_an_area_that_is_not_said_is_the_masks_or_else_the_boxs(tmp_path):
    content = document()
    for entry in content["annotations"]:
        entry.pop("area", None)
    pictures = read(tmp_path, content).pictures
    polygons, block, boxed = (one.area for one in pictures[0].instances)
    assert polygons == 10 * 8 / 2 + (3.5 + 3) * 8 / 2
    assert (block, boxed) == (BLOCK[1] + BLOCK[3], 12)
    assert [one.area for one in pictures[1].instances] == [1650, 12]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not readable as JSON"), ("{", "not readable as JSON"), ("[" * 100_000, "not readable as JSON"),
        ("[]", "not annotations in COCO's format"), ("5", "not annotations"), ("{}", "there is no 'images'"),
        ('{"images": [], "annotations": {}, "categories": []}', "'annotations' is no list"),
        ('{"images": [], "annotations": []}', "there is no 'categories'"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_annotations(tmp_path, content, words):
    with pytest.raises(CorruptError, match=words) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "instances_train.json") in caught.value.where


def test_bytes_that_are_no_text(tmp_path):
    path = write(tmp_path, "", images=False)
    path.write_bytes(b"\xff\xfe{\x00\x80")
    with pytest.raises(CorruptError, match="not readable as JSON"):
        looked_through(path)


def test_a_file_that_is_not_there_or_no_file(tmp_path):
    with pytest.raises(InputMissing, match="cannot read the annotations"):
        looked_through(tmp_path / "instances_train.json")
    with pytest.raises(CorruptError, match="not a regular file"):
        looked_through(tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (("annotations", 2, "bbox"), "4 0 2 10", "annotations[2].bbox"),
        (("annotations", 3, "category_id"), 1, "annotations[3].category_id"),
        (("annotations", 3, "image_id"), 1, "annotations[3].image_id"),
        (("images", 1, "id"), 7, "images[1].id"),
        (("images", 1, "file_name"), "../a.png", "images[1].file_name"),
        (("categories", 1, "name"), ..., "categories[1].name"),
    ],
)
def test_the_place_that_is_not_understood_is_named_first(tmp_path, path, value, where):
    assert looked_through(write(tmp_path, changed(*path, to=value))).broken[0].where == where


def test_what_is_read_is_written_and_read_again_equal(tmp_path):
    found = read(tmp_path, document())
    again = read(tmp_path, document_of(found))
    assert again == found


def test_what_is_left_out_takes_what_hangs_on_it_along(tmp_path):
    loaded = load_document(write(tmp_path, document(), images=False))
    found = annotations_of(loaded, leave_out={("images", 0), ("categories", 1), ("annotations", 4)})
    assert [picture.id for picture in found.pictures] == [3, 12]
    assert [picture.instances for picture in found.pictures] == [(), ()]
    assert found.class_names == ("sign", "brush")


# ---------------------------------------------------------------------- anything

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from([0, 1, 7, 2400, 10**400])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


def places(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


PLACES = [path for path in places(document()) if path]


@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES | st.just(...)), min_size=1, max_size=3))
def test_whatever_stands_anywhere_there_are_faults_and_never_a_crash(tmp_path_factory, changes):
    content = copy.deepcopy(document())
    for path, value in changes:
        *way, last = path
        place = content
        try:
            for key in way:
                place = place[key]
            if value is ...:
                del place[last]
            else:
                place[last] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    root = tmp_path_factory.getbasetemp() / "anything"
    path = write(root, json.dumps(content), images=False)
    try:
        found = looked_through(path)
    except TicketError:
        return
    assert all(str(fault).isprintable() for fault in found.faults)
    assert json.dumps(document_of(found.annotations), allow_nan=False)


@given(st.binary(max_size=60))
def test_whatever_bytes_a_file_holds(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes.json"
    path.write_bytes(data)
    with pytest.raises(TicketError):
        looked_through(path)
