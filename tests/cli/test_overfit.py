"""Eight photographs of COCO learnt by heart: every part of reading, training and measuring has to be right for that."""

import json
import shutil

import pytest

from tests.cli.command_line import ticket
from ticketcli.store.run_folder import Run

LARGE = 3_000  # pixels of area: objects that can still be seen at the size of this test


@pytest.fixture(scope="module")
def eight(unpacked, tmp_path_factory):
    """Eight images with one to four large objects each, as all three parts of a set."""
    whole, folder = unpacked("coco-mini"), tmp_path_factory.mktemp("eight")
    document = json.loads((whole / "instances_train.json").read_text())
    objects = {}
    for one in document["annotations"]:
        objects.setdefault(one["image_id"], []).append(one)
    chosen = [
        image
        for image in document["images"]
        if 1 <= len(objects.get(image["id"], ())) <= 4
        and all(one["area"] > LARGE and not one["iscrowd"] for one in objects[image["id"]])
    ][:8]
    assert len(chosen) == 8
    (folder / "images").mkdir()
    for image in chosen:
        shutil.copy(whole / "images" / image["file_name"], folder / "images")
    kept = {**document, "images": chosen, "annotations": [one for image in chosen for one in objects[image["id"]]]}
    for part in ("train", "val", "test"):
        (folder / f"instances_{part}.json").write_text(json.dumps(kept))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_eight_real_images_are_learnt_by_heart(eight, finished, copy):
    flags = (
        "--schedule",
        "tiny",
        "--short-sides",
        "96",
        "--freeze",
        "none",
        "--batchnorm",
        "train",
        "--augment",
        "none",
    )
    result = ticket(
        "transfer", "--ticket", "dense@seed=0", "--task", "segmentation", "--data", f"coco:{eight}", *flags,
        "--epochs", "240it", "--name", "eight", "--run", copy.root,
    )  # fmt: skip
    assert result.code == 0, result
    found = Run(copy.root).manifest("eight").units["task"].metrics["test"]
    assert found["box"]["ap50"] > 0.9
    assert found["mask"]["ap50"] > 0.7
