import pytest

from tests.annotations.small_set import changed, document, write
from tests.data.files import noise, save
from ticketcli.annotations.document import load_document
from ticketcli.annotations.inspection import inspect
from ticketcli.annotations.layout import find_parts, part_of_file
from ticketcli.errors import InputMissing, UsageError


def put(root, file, folder):
    """One part: its annotations, and its images in a folder."""
    write(root, document(), file, images=False)
    for entry in document()["images"]:
        save(root / folder / entry["file_name"], noise(entry["height"], entry["width"], 1))


def found(root):
    parts = {}
    for name, part in find_parts(root).items():
        folder = part.images(load_document(part.file))
        parts[name] = (str(part.file.relative_to(root)), str(folder.relative_to(root)))
    return parts


@pytest.mark.parametrize(
    ("files", "folders"),
    [
        (("instances_train.json", "instances_val.json"), ("images", "images")),
        (("instances_train.json", "instances_val.json"), ("train", "val")),
        (("instances_train.json", "instances_val.json"), ("images/train", "images/val")),
        (("instances_train.json", "instances_val.json"), (".", ".")),
        (("annotations/instances_train2017.json", "annotations/instances_val2017.json"), ("train2017", "val2017")),
        (("annotations/instances_Train.json", "annotations/instances_Validation.json"), ("images", "images")),
        (("train/_annotations.coco.json", "valid/_annotations.coco.json"), ("train", "valid")),
    ],
)
def test_the_layouts_that_people_have(tmp_path, files, folders):
    for file, folder in zip(files, folders, strict=True):
        put(tmp_path, file, folder)
    wanted = {name: pair for name, *pair in zip(("train", "val"), files, folders, strict=True)}
    assert found(tmp_path) == {name: tuple(pair) for name, pair in wanted.items()}


@pytest.mark.parametrize("file", ["annotations/instances_default.json", "annotations.json", "_annotations.coco.json"])
def test_one_file_is_a_heap(tmp_path, file):
    put(tmp_path, file, "images")
    assert found(tmp_path) == {"": (file, "images")}


def test_the_folder_with_the_images_is_taken_before_one_that_is_only_named_so(tmp_path):
    put(tmp_path, "instances_train.json", "images")
    (tmp_path / "train").mkdir()
    assert found(tmp_path)["train"][1] == "images"


def test_names_may_have_folders_in_them(tmp_path):
    content = changed("images", 0, "file_name", to="images/007.png")
    write(tmp_path, content, "annotations.json")
    assert found(tmp_path)[""][1] == "images"  # where most of them are


def test_parts_come_in_order_and_other_files_do_not_count(tmp_path):
    for name in ("val", "test", "train"):
        put(tmp_path, f"annotations/instances_{name}.json", "images")
    write(tmp_path, "{}", "annotations/captions_train.json", images=False)
    write(tmp_path, "{}", "annotations/person_keypoints_val.json", images=False)
    assert list(find_parts(tmp_path)) == ["train", "val", "test"]


def test_two_files_for_one_part_are_refused(tmp_path):
    for year in (2014, 2015):
        put(tmp_path, f"annotations/instances_train{year}.json", f"train{year}")
    with pytest.raises(UsageError, match="two files for 'train'"):
        find_parts(tmp_path)


def test_coco_2017_is_found_beside_other_years(tmp_path):
    for year in (2014, 2017):
        for part in ("train", "val"):
            put(tmp_path, f"annotations/instances_{part}{year}.json", f"{part}{year}")
    assert found(tmp_path)["val"] == ("annotations/instances_val2017.json", "val2017")


@pytest.mark.parametrize("files", [(), ("instances_a.json", "instances_b.json")])
def test_nothing_or_nothing_clear_is_said(tmp_path, files):
    for file in files:
        put(tmp_path, file, "images")
    with pytest.raises(InputMissing, match="not clear" if files else "no annotations"):
        find_parts(tmp_path)
    with pytest.raises(InputMissing, match="no such folder"):
        find_parts(tmp_path / "x")


def test_one_file_finds_its_images_as_its_folder_would(tmp_path):
    put(tmp_path, "annotations/instances_val2017.json", "val2017")
    part = part_of_file(tmp_path / "annotations" / "instances_val2017.json")
    assert part.images(load_document(part.file)) == tmp_path / "val2017"
    given = part_of_file(part.file, tmp_path / "elsewhere")
    assert given.folders == (tmp_path / "elsewhere",)


def test_labels_of_all_parts_are_places_among_the_first_parts_classes(tmp_path):
    write(tmp_path, document())
    fewer = document()
    fewer["categories"] = fewer["categories"][:1]
    fewer["annotations"] = fewer["annotations"][:1]
    write(tmp_path, fewer, "instances_val.json", images=False)
    train, val = inspect(find_parts(tmp_path).values())
    assert val.annotations.class_names == train.annotations.class_names == ("cup", "sign", "brush")
    assert val.annotations.pictures[0].instances == train.annotations.pictures[0].instances[:1]
    assert not val.broken


@pytest.mark.parametrize("entry", [{"id": 91, "name": "brush"}, {"id": 90, "name": "broom"}])
def test_a_class_that_the_first_part_has_not_is_a_fault(tmp_path, entry):
    write(tmp_path, document())
    content = document()
    content["categories"][0] = entry
    content["annotations"] = content["annotations"][1:]
    write(tmp_path, content, "instances_val.json", images=False)
    _, val = inspect(find_parts(tmp_path).values())
    assert [(fault.kind, fault.where) for fault in val.broken] == [("other-classes", "categories[0]")]


def test_an_image_in_two_parts_is_noted(tmp_path):
    write(tmp_path, document())
    write(tmp_path, document(), "instances_val.json", images=False)
    train, val = inspect(find_parts(tmp_path).values())
    assert train.faults == ()
    assert {fault.kind for fault in val.faults} == {"shared-file"}
    assert val.broken == ()
