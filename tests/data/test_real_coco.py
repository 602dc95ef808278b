"""Real annotations, where they are at hand: COCO's own, and nuclei under the microscope."""

import json

import numpy as np
import pytest

from tests.cli.command_line import ticket
from tests.data.files import sources
from tests.data.test_outlines import by_pycocotools
from ticketcli.annotations.inspection import inspect
from ticketcli.annotations.layout import find_parts
from ticketcli.annotations.run_lengths import area_of
from ticketcli.data.outlines import bitmap
from ticketcli.data.sets import load_splits

COUNTS = {  # images, objects, crowd regions, empty images of train and val; validation is cut off train
    "coco-mini": ((39, 253, 2, 1), (46, 280, 3, 2), (35, 4, 46)),
    "dsb2018": ((531, 23113, 0, 0), (133, 5873, 0, 0), (478, 53, 133)),
}

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own


@pytest.mark.parametrize("name", COUNTS)
def test_a_real_set_is_read_whole_and_nothing_is_wrong_with_it(unpacked, name):
    root = unpacked(name)
    train, val, parts = COUNTS[name]
    result = ticket("data", "check", root, "--json")
    assert result.code == 0, result
    found = json.loads(result.out)
    counts = [
        tuple(part["counts"][key] for key in ("images", "objects", "crowd", "empty"))
        for part in found["parts"].values()
    ]
    assert counts == [train, val]
    assert found["broken"] == 0
    splits = load_splits(f"coco:{root}", sources=sources(root))
    assert tuple(len(part.pictures) for part in (splits.train, splits.validation, splits.test)) == parts
    for index in (0, len(splits.test.pictures) - 1):
        picture = splits.test.pictures[index]
        assert splits.test.originals.read(index, 2**30).shape == (picture.height, picture.width, 3)


@pytest.mark.parametrize(("name", "part"), [("coco-mini", "train"), ("coco-mini", "val"), ("dsb2018", "val")])
def test_real_outlines_are_drawn_as_pycocotools_draws_them(unpacked, name, part):
    (found,) = inspect([find_parts(unpacked(name))[part]])
    kinds = set()
    for picture in found.annotations.pictures[:60]:
        for one in picture.instances:
            drawn = bitmap(one.segmentation, picture.height, picture.width)
            assert np.array_equal(drawn, by_pycocotools(one.segmentation, picture.height, picture.width))
            outline = one.segmentation
            kinds.add("polygons" if isinstance(outline, list) else type(outline["counts"]).__name__)
            if isinstance(outline, dict):
                assert area_of(outline) == drawn.sum()
            if one.crowd:
                kinds.add("crowd")
    assert kinds == ({"str"} if name == "dsb2018" else {"polygons", "str", "list", "crowd"})
