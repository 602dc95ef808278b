"""Each thing that can be wrong, alone: it is found, named, and nothing else is."""

import json
from pathlib import Path

import pytest

from tests.annotations.small_set import changed, document, write
from tests.data.files import noise, save
from ticketcli.annotations.document import load_document
from ticketcli.annotations.faults import KINDS, broken_entries, find_faults, summary


def faults(root, content, images=True):
    path = write(root, content, images=images)
    return find_faults(load_document(path), root / "images")


def only(root, content, **settings):
    found = faults(root, content, **settings)
    assert len(found) == 1, found
    return found[0]


def test_a_good_set_has_no_faults(tmp_path):
    assert faults(tmp_path, document()) == []


def test_without_a_folder_no_file_is_looked_at(tmp_path):
    assert find_faults(load_document(write(tmp_path, document(), images=False))) == []


# ---------------------------------------------------------------------- files


def test_a_missing_image_file(tmp_path):
    write(tmp_path, document())
    (tmp_path / "images" / "003.png").unlink()
    fault = only(tmp_path, document(), images=False)
    assert (fault.kind, fault.where, fault.image) == ("missing-file", "images[1].file_name", 3)


@pytest.mark.parametrize(("size", "words"), [((40, 61), "61 x 40 pixels, not 60 x 40"), ((60, 40), "turned")])
def test_an_image_of_another_size_than_is_written(tmp_path, size, words):
    write(tmp_path, document())
    save(tmp_path / "images" / "007.png", noise(*size, 1))
    fault = only(tmp_path, document(), images=False)
    assert (fault.kind, fault.image) == ("other-size", 7)
    assert words in fault.what


def test_the_orientation_that_a_camera_noted_counts(tmp_path):
    """The decoder applies it, so the sizes after it are what annotations have to be for."""
    from PIL import Image

    content = changed("images", 0, "file_name", to="007.jpg")
    write(tmp_path, content)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "images" / "007.jpg", noise(60, 40, 1), exif=exif)
    assert faults(tmp_path, content, images=False) == []
    save(tmp_path / "images" / "007.jpg", noise(40, 60, 1), exif=exif)
    assert "turned as its camera noted" in only(tmp_path, content, images=False).what


@pytest.mark.parametrize(("ending", "words"), [("png", "cut off"), ("jpg", "cut off"), ("webp", "not an image")])
def test_an_image_that_is_cut_off(tmp_path, ending, words):
    content = changed("images", 0, "file_name", to=f"007.{ending}")
    write(tmp_path, content)
    path = save(tmp_path / "images" / f"007.{ending}", noise(40, 60, 1))
    assert faults(tmp_path, content, images=False) == []
    path.write_bytes(path.read_bytes()[:-13])
    fault = only(tmp_path, content, images=False)
    assert (fault.kind, fault.where) == ("unreadable-file", "images[0].file_name")
    assert words in fault.what


@pytest.mark.parametrize(("data", "words"), [(b"", "empty"), (b"<html>not found</html>", "not an image")])
def test_a_file_that_is_no_image(tmp_path, data, words):
    write(tmp_path, document())
    (tmp_path / "images" / "003.png").write_bytes(data)
    fault = only(tmp_path, document(), images=False)
    assert fault.kind == "unreadable-file"
    assert words in fault.what


@pytest.mark.parametrize(
    "name", ["../003.png", "/etc/passwd", "a/../../b.png", "..\\b.png", "C:\\b.png", "\\\\s\\b.png"]
)
def test_a_file_name_that_leaves_the_folder(tmp_path, name):
    fault = only(tmp_path, changed("images", 1, "file_name", to=name))
    assert (fault.kind, fault.where) == ("leaves-folder", "images[1].file_name")


@pytest.mark.parametrize("name", ["007.png", "./007.png", "x/../007.png"])
def test_a_file_that_is_named_twice(tmp_path, name):
    found = faults(tmp_path, changed("images", 1, "file_name", to=name))
    assert ("leaves-folder" if ".." in name else "duplicate-file") in {fault.kind for fault in found}


def test_names_with_dots_that_leave_nothing_are_fine(tmp_path):
    content = changed("images", 1, "file_name", to="a..b.png")
    write(tmp_path, content)
    save(tmp_path / "images" / "a..b.png", noise(33, 50, 1))
    assert faults(tmp_path, content, images=False) == []


# ---------------------------------------------------------------------- boxes


@pytest.mark.parametrize("box", [[5, 6, 0, 8], [5, 6, 8, 0.0], [5, 6, -2, 8]])
def test_a_box_of_zero_or_negative_area(tmp_path, box):
    fault = only(tmp_path, changed("annotations", 0, "bbox", to=box))
    assert (fault.kind, fault.where, fault.annotation, fault.image) == ("empty-box", "annotations[0].bbox", 1, 7)


@pytest.mark.parametrize("box", [[-0.6, 0, 5, 5], [0, -1, 5, 5], [50.6, 0, 10, 5], [0, 30.6, 5, 10]])
def test_a_box_that_reaches_out_of_the_image(tmp_path, box):
    assert only(tmp_path, changed("annotations", 0, "bbox", to=box)).kind == "outside-box"


@pytest.mark.parametrize("box", [[-0.5, -0.5, 61, 41], [0, 0, 60.5, 40.5]])
def test_half_a_pixel_outside_is_forgiven(tmp_path, box):
    assert faults(tmp_path, changed("annotations", 0, "bbox", to=box)) == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["bbox", "area", "segmentation"])
def test_a_number_that_is_not_finite(tmp_path, number, field):
    values = {"bbox": [1, 1, 555, 5], "area": 555, "segmentation": [[1, 1, 555, 5, 3, 3]]}
    text = json.dumps(changed("annotations", 0, field, to=values[field])).replace("555", number)
    found = faults(tmp_path, text)
    assert found[0].where.startswith(f"annotations[0].{field}")
    assert found[0].kind == ("malformed" if (number, field) == ("-Infinity", "area") else "not-finite")


# ---------------------------------------------------------------------- what refers to what


def test_an_unknown_category(tmp_path):
    fault = only(tmp_path, changed("annotations", 1, "category_id", to=3))
    assert (fault.kind, fault.where) == ("unknown-category", "annotations[1].category_id")


def test_an_annotation_of_an_unknown_image(tmp_path):
    fault = only(tmp_path, changed("annotations", 4, "image_id", to=4))
    assert (fault.kind, fault.where) == ("unknown-image", "annotations[4].image_id")


@pytest.mark.parametrize(
    ("section", "index", "number"), [("images", 2, 7), ("annotations", 3, 1), ("categories", 1, 90)]
)
def test_an_id_that_is_given_twice(tmp_path, section, index, number):
    found = faults(tmp_path, changed(section, index, "id", to=number))
    first = next(fault for fault in found if fault.kind == "duplicate-id")
    assert first.where == f"{section}[{index}].id"
    assert first.entry == (section, index)


# ---------------------------------------------------------------------- outlines


@pytest.mark.parametrize("polygon", [[1, 1, 5, 5], [1, 1, 5, 5, 9, 9, 3], []])
def test_a_polygon_of_too_few_or_an_odd_number_of_numbers(tmp_path, polygon):
    good = [1, 1, 5, 5, 9, 9]
    fault = only(tmp_path, changed("annotations", 0, "segmentation", to=[good, polygon]))
    assert (fault.kind, fault.where) == ("polygon", "annotations[0].segmentation[1]")


@pytest.mark.parametrize("counts", [[160, 10, 30, 10, 2189], [2401], []])
def test_run_lengths_that_do_not_fill_the_image(tmp_path, counts):
    fault = only(tmp_path, changed("annotations", 2, "segmentation", "counts", to=counts))
    assert (fault.kind, fault.where) == ("run-lengths", "annotations[2].segmentation.counts")


def test_run_lengths_for_another_size(tmp_path):
    fault = only(tmp_path, changed("annotations", 2, "segmentation", "size", to=[60, 40]))
    assert (fault.kind, fault.where) == ("run-lengths", "annotations[2].segmentation.size")


@pytest.mark.parametrize("counts", ["R14m0000]_1o", "R14m00 0]_1", "R14m00é0]_1", "N"])
def test_packed_run_lengths_that_cannot_be_unpacked(tmp_path, counts):
    fault = only(tmp_path, changed("annotations", 4, "segmentation", "counts", to=counts))
    assert (fault.kind, fault.where) == ("packed-counts", "annotations[4].segmentation.counts")


def test_packed_run_lengths_that_lost_their_end(tmp_path):
    fault = only(tmp_path, changed("annotations", 4, "segmentation", "counts", to="R14m0000"))
    assert fault.kind == "run-lengths"


def test_a_crowd_of_polygons_is_only_noted(tmp_path):
    fault = only(tmp_path, changed("annotations", 0, "iscrowd", to=1))
    assert (fault.kind, fault.is_note) == ("crowd-polygons", True)
    assert broken_entries([fault]) == frozenset()


# ---------------------------------------------------------------------- types

BAD = [
    (("annotations", 0, "bbox"), "5 6 7 8"), (("annotations", 0, "bbox"), [1, 2, 3]), (("annotations", 0, "bbox"), ...),
    (("annotations", 0, "bbox"), [1, 2, 3, "4"]), (("annotations", 0, "bbox"), [1, 2, 3, True]),
    (("annotations", 0, "id"), "1"), (("annotations", 0, "id"), 1.5), (("annotations", 0, "id"), True),
    (("annotations", 0, "image_id"), [7]), (("annotations", 0, "category_id"), None),
    (("annotations", 0, "iscrowd"), 2), (("annotations", 0, "iscrowd"), "0"), (("annotations", 0, "area"), -1),
    (("annotations", 0, "area"), "12"), (("annotations", 0, "segmentation"), "x"),
    (("annotations", 0, "segmentation"), {"counts": [2400]}), (("annotations", 0, "segmentation"), {}),
    (("annotations", 0, "segmentation"), {"size": [40, 60], "counts": [2410, -10]}),
    (("annotations", 0, "segmentation"), {"size": [40, 60], "counts": 3}),
    (("annotations", 0, "segmentation", 0), [1, 2, 3, 4, 5, "6"]), (("annotations", 0, "segmentation", 0), 5),
    (("images", 2, "height"), "64"), (("images", 2, "width"), 0), (("images", 2, "height"), ...),
    (("images", 2, "file_name"), 12), (("images", 2, "file_name"), ""), (("images", 2, "file_name"), ...),
    (("images", 2, "file_name"), "a\0b.png"), (("images", 2, "file_name"), "\ud800.png"),
    (("categories", 0, "name"), 5), (("categories", 0, "name"), "\ud800"), (("images", 2), 5),
    (("annotations", 4), "x"), (("categories", 0), None),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value"), BAD)
def test_a_value_of_the_wrong_type_or_missing(tmp_path, place, value):
    found = [fault for fault in faults(tmp_path, changed(*place, to=value)) if fault.kind != "unknown-category"]
    section, index, *rest = place
    assert [fault.kind for fault in found] == ["malformed"]
    assert found[0].where.startswith(".".join([f"{section}[{index}]", *map(str, rest[:1])]))
    assert str(found[0]).isprintable()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("images", 0, "width"), 60.0), (("annotations", 0, "image_id"), 7.0), (("annotations", 0, "iscrowd"), False),
        (("annotations", 0, "segmentation"), None), (("annotations", 0, "segmentation"), ...),
        (("annotations", 0, "area"), None), (("annotations", 0, "more"), {"a": 1}),
    ],
)  # fmt: skip
def test_what_other_programs_write_and_mean_well(tmp_path, place, value):
    assert faults(tmp_path, changed(*place, to=value)) == []


# ---------------------------------------------------------------------- together


def test_all_that_is_wrong_with_an_entry_is_found_at_once(tmp_path):
    content = document()
    content["annotations"][0] |= {"image_id": 70, "category_id": 91, "bbox": [0, 0, 0, 0], "segmentation": [[1, 2]]}
    content["images"][1] |= {"height": 34, "file_name": "gone.png"}
    kinds = sorted(fault.kind for fault in faults(tmp_path, content))
    wanted = ["unknown-image", "unknown-category", "empty-box", "polygon", "missing-file", "run-lengths", "run-lengths"]
    assert kinds == sorted(wanted)


def test_the_summary_counts_each_kind_and_names_the_first_places(tmp_path):
    content = document()
    for entry in content["annotations"]:
        entry["category_id"] = 1
    lines = summary(faults(tmp_path, content), first=2)
    assert lines[0] == "annotations of unknown categories: 5"
    assert lines[1] == "  annotations[0].category_id: there is no category 1 (annotation 1, image 7)"
    assert lines[3:] == ["  and 3 more"]


def test_every_kind_is_described():
    source = (Path(__file__).parents[2] / "ticketcli" / "annotations").glob("*.py")
    text = "".join(path.read_text() for path in source)
    for kind in KINDS:
        assert text.count(f'"{kind}"') > 1
