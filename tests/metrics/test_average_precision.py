import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.oracle import oracle
from tests.metrics.perturbed import perturbed, read
from ticketcli.annotations.pictures import Instance, Picture
from ticketcli.data.outlines import run_lengths
from ticketcli.errors import DivergedError, InputMissing, MismatchError, UsageError
from ticketcli.metrics.average_precision import average_precision, require_coco, results_of
from ticketcli.tensors.shown import Found

KINDS = {"bbox": "box", "segm": "mask"}


@pytest.fixture(scope="session")
def real_sets(unpacked):
    held = {}

    def real(name, part):
        if (name, part) not in held:
            if name not in held:
                held[name] = unpacked(name)
            held[name, part] = read(held[name] / f"instances_{part}.json")
        return held[name, part]

    return real


def results(pictures, ids, seed, **how):
    return [entry for one in pictures for entry in results_of(one, perturbed(one, len(ids), seed, **how), ids)]


def check(pictures, names, ids, entries, kinds=("bbox", "segm")):
    measured = average_precision(pictures, names, ids, entries, kinds)
    for kind in kinds:
        assert measured[KINDS[kind]] == oracle(pictures, names, ids, entries, kind)
    return measured


def bitmap_at(x, y, width, height, side=100):
    mask = np.zeros((side, side), dtype=np.uint8)
    mask[y : y + height, x : x + width] = 1
    return mask


def square(number, x, y, width, height, label=0, *, crowd=False):
    outline = run_lengths(bitmap_at(x, y, width, height).astype(bool))
    return Instance(number, label, (x, y, width, height), outline, width * height, crowd)


def found_at(*boxes, labels=None, scores=None):
    masks = [bitmap_at(*box) for box in boxes]
    corners = [[x, y, x + width, y + height] for x, y, width, height in boxes]
    return Found(
        boxes=torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels if labels is not None else [0] * len(boxes), dtype=torch.int64),
        scores=torch.tensor(scores if scores is not None else [0.9] * len(boxes), dtype=torch.float32),
        masks=torch.from_numpy(np.stack(masks)) if masks else torch.zeros((0, 100, 100), dtype=torch.uint8),
    )


def picture(*instances, number=1):
    return Picture(number, "", 100, 100, instances)


@pytest.mark.parametrize("levels", [None, 4, 1])
@pytest.mark.parametrize("part", ["train", "val"])
def test_real_annotations_with_crowds_give_pycocotools_numbers(real_sets, part, levels):
    pictures, names, ids = real_sets("coco-mini", part)
    assert any(instance.crowd for one in pictures for instance in one.instances)
    measured = check(pictures, names, ids, results(pictures, ids, 3, levels=levels))
    assert 0.2 < measured["mask"]["ap"] < measured["box"]["ap50"] < 0.9


@pytest.mark.parametrize("levels", [None, 10])
def test_hundreds_of_nuclei_give_pycocotools_numbers(real_sets, levels):
    pictures, names, ids = real_sets("dsb2018", "val")
    few = [*pictures[:5], max(pictures, key=lambda one: len(one.instances))]
    assert len(few[-1].instances) > 150
    measured = check(few, names, ids, results(few, ids, 5, levels=levels))
    assert 0.1 < measured["mask"]["ap"] < 0.9


def test_a_perfect_detector_has_an_average_precision_of_one():
    one = picture(square(1, 10, 10, 20, 20), square(2, 50, 50, 40, 40, label=1))
    entries = results_of(one, found_at((10, 10, 20, 20), (50, 50, 40, 40), labels=[0, 1]), (7, 3))
    measured = average_precision([one], ("cat", "dog"), (7, 3), entries)
    for name in ("box", "mask"):
        assert measured[name]["ap"] == pytest.approx(1)
        assert measured[name]["ap_small"] == measured[name]["ap_medium"] == pytest.approx(1)
        assert measured[name]["ap_large"] is None
        assert measured[name]["classes"] == {"cat": pytest.approx(1), "dog": pytest.approx(1)}


def test_a_class_keeps_its_name_whatever_the_order_of_the_categories():
    one = picture(square(1, 10, 10, 20, 20), square(2, 50, 50, 40, 40, label=1))
    entries = results_of(one, found_at((10, 10, 20, 20)), (7, 3))
    measured = average_precision([one], ("cat", "dog"), (7, 3), entries)
    assert measured["box"]["classes"] == {"cat": pytest.approx(1), "dog": 0}


def test_two_classes_of_one_name_are_told_apart():
    one = picture(square(1, 10, 10, 20, 20))
    measured = average_precision([one], ("cat", "cat"), (7, 3), [], ["bbox"])
    assert measured["box"]["classes"] == {"cat (7)": 0, "cat (3)": None}


def test_without_detections_everything_that_is_there_counts_zero():
    pictures = [picture(square(1, 10, 10, 20, 20)), picture(number=2)]
    measured = check(pictures, ("cat", "dog"), (1, 2), [])
    assert measured["box"]["ap"] == measured["mask"]["ar100"] == 0
    assert measured["box"]["classes"] == {"cat": 0, "dog": None}


def test_without_truth_there_is_nothing_to_average():
    entries = results_of(picture(), found_at((10, 10, 20, 20)), (1,))
    assert check([picture()], ("cat",), (1,), entries)["box"]["ap"] is None
    assert average_precision([], ("cat",), (1,), [])["mask"]["ap"] is None


def test_crowds_alone_are_no_truth():
    one = picture(square(1, 10, 10, 80, 80, crowd=True))
    entries = results_of(one, found_at((10, 10, 20, 20), (95, 95, 4, 4)), (1,))
    assert check([one], ("cat",), (1,), entries)["mask"]["ap"] is None


def test_detections_inside_a_crowd_are_not_mistakes():
    objects = (square(1, 0, 0, 20, 20), square(2, 30, 30, 60, 60, crowd=True))
    inside = found_at((40, 40, 10, 10), (60, 60, 10, 10), (0, 0, 20, 20), scores=[0.9, 0.8, 0.7])
    assert check([picture(*objects)], ("cat",), (1,), results_of(picture(), inside, (1,)))["box"][
        "ap"
    ] == pytest.approx(1)


def test_more_than_a_hundred_detections_of_a_class_are_cut_as_pycocotools_cuts_them():
    grid = [(9 * (place % 11), 9 * (place // 11), 8, 8) for place in range(121)]
    one = picture(*(square(number, *box) for number, box in enumerate(grid, 1)))
    found = found_at(*grid, *grid, scores=[0.5] * 121 + [0.4] * 121)
    measured = check([one], ("cat",), (1,), results_of(one, found, (1,)))
    assert measured["box"]["ar100"] == pytest.approx(100 / 121)


def test_empty_masks_and_boxes_without_area_are_mistakes_and_no_trouble():
    one = picture(square(1, 0, 0, 20, 20), replace(square(2, 30, 30, 0, 0), area=0.0))
    found = found_at((0, 0, 20, 20), (30, 30, 0, 0), (40, 40, 0, 10), (70, 5, 9, 0), scores=[0.6, 0.7, 0.8, 0.9])
    measured = check([one], ("cat",), (1,), results_of(one, found, (1,)))
    assert 0 < measured["mask"]["ap"] < 0.5


def test_numbers_that_occur_twice_or_are_zero_do_not_matter():
    pictures = [picture(square(0, 10, 10, 20, 20), square(0, 50, 50, 9, 9), number=number) for number in (1, 2)]
    entries = [entry for one in pictures for entry in results_of(one, found_at((10, 10, 20, 20), (50, 50, 9, 9)), (1,))]
    assert check(pictures, ("cat",), (1,), entries)["box"]["ap"] == pytest.approx(1)


def test_polygons_give_pycocotools_numbers(real_sets):
    pictures, names, ids = real_sets("coco-mini", "val")
    draw = np.random.default_rng(0)

    def polygon(instance):
        (x, y, width, height), angles = instance.box, np.sort(draw.random(9)) * 2 * np.pi
        radius = draw.uniform(0.3, 0.6, 9)
        points = np.stack([x + width * (0.5 + radius * np.cos(angles)), y + height * (0.5 + radius * np.sin(angles))])
        return replace(instance, segmentation=[points.T.round(2).ravel().tolist()])

    entries = results(pictures, ids, 1)
    changed = [
        replace(one, instances=tuple(each if each.crowd else polygon(each) for each in one.instances))
        for one in pictures
    ]
    assert check(changed, names, ids, entries, ["segm"])["mask"]["ap50"] > 0


BOX = st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(0, 60)] * 2)
SCENE = st.lists(st.tuples(BOX, st.integers(0, 2), st.booleans()), max_size=4)
SEEN = st.lists(st.tuples(BOX, st.integers(0, 2), st.sampled_from((0.25, 0.5, 1.0))), max_size=6)


@given(st.lists(st.tuples(SCENE, SEEN), min_size=1, max_size=3))
@settings(max_examples=25)
def test_whatever_is_there_and_found_pycocotools_agrees(scenes):
    pictures, entries, ids = [], [], (90, 1, 17)
    for number, (objects, seen) in enumerate(scenes):
        instances = [square(k, *box, label, crowd=crowd) for k, (box, label, crowd) in enumerate(objects)]
        pictures.append(picture(*instances, number=9 - number))
        boxes, labels, scores = zip(*seen, strict=True) if seen else ((), (), ())
        entries += results_of(pictures[-1], found_at(*boxes, labels=list(labels), scores=list(scores)), ids)
    check(pictures, ("a", "b", "c"), ids, entries)


def test_entries_are_json_and_nothing_is_rounded():
    found = Found(
        torch.tensor([[1.1, 2.2, 30.3, 40.4]]), torch.tensor([1]), torch.tensor([0.7]), torch.ones((1, 100, 100), dtype=torch.uint8)
    )  # fmt: skip
    (entry,) = json.loads(json.dumps(results_of(picture(), found, (7, 3))))
    x0, y0, x1, y1 = (float(side) for side in found.boxes[0])
    assert entry == {
        "image_id": 1, "category_id": 3, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": float(found.scores[0]),
        "segmentation": {"size": [100, 100], "counts": "0`h9"},
    }  # fmt: skip


def test_found_masks_are_measured_by_their_own_area_and_not_by_their_box():
    thin = np.eye(100, dtype=np.uint8)  # 100 pixels: small, in a box of 10,000: large
    one = picture(Instance(1, 0, (0, 0, 100, 100), run_lengths(thin.astype(bool)), 100.0))
    miss = Found(
        torch.tensor([[0.0, 0, 100, 100]]),
        torch.tensor([0]),
        torch.tensor([0.9]),
        torch.from_numpy(thin[None, ::-1].copy()),
    )
    hit = replace(miss, scores=torch.tensor([0.8]), masks=torch.from_numpy(thin[None]))
    entries = results_of(one, miss, (1,)) + results_of(one, hit, (1,))
    assert average_precision([one], ("cat",), (1,), entries)["mask"]["ap_small"] == pytest.approx(0.5)


def test_nothing_is_printed(capfd):
    one = picture(square(1, 10, 10, 20, 20), square(2, 0, 0, 5, 5, crowd=True))
    average_precision([one], ("cat",), (1,), results_of(one, found_at((10, 10, 20, 20)), (1,)))
    assert capfd.readouterr() == ("", "")


def test_objects_without_an_outline_have_no_mask_ap_but_a_box_ap():
    one = picture(replace(square(5, 10, 10, 20, 20), segmentation=None))
    entries = results_of(one, found_at((10, 10, 20, 20)), (1,))
    with pytest.raises(UsageError, match="1 objects have no outline\n   at: image 1, object 5"):
        average_precision([one], ("cat",), (1,), entries)
    assert average_precision([one], ("cat",), (1,), entries, ["bbox"])["box"]["ap"] == pytest.approx(1)


def test_results_without_masks_have_no_mask_ap():
    one = picture(square(1, 10, 10, 20, 20))
    entries = results_of(one, replace(found_at((10, 10, 20, 20)), masks=None), (1,))
    with pytest.raises(UsageError, match="the results have no masks"):
        average_precision([one], ("cat",), (1,), entries)


@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_results_of_something_else_are_refused(key):
    one = picture(square(1, 10, 10, 20, 20))
    (entry,) = results_of(one, found_at((10, 10, 20, 20)), (1,))
    with pytest.raises(MismatchError, match=f"at: {key} 55"):
        average_precision([one], ("cat",), (1,), [entry | {key: 55}])


def test_a_detector_that_lost_its_numbers_is_refused():
    found = replace(found_at((10, 10, 20, 20)), scores=torch.tensor([float("nan")]))
    with pytest.raises(DivergedError, match="not finite"):
        results_of(picture(), found, (1,))


def test_masks_of_another_size_and_labels_without_a_class_are_refused():
    with pytest.raises(MismatchError, match=r"\(1, 100, 100\), wanted \(1, 50, 100\)"):
        results_of(replace(picture(), height=50), found_at((0, 0, 9, 9)), (1,))
    with pytest.raises(MismatchError, match="there are 1 classes"):
        results_of(picture(), found_at((0, 0, 9, 9), labels=[1]), (1,))


def test_without_hotcoco_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(InputMissing, match=r"pip install 'ticketcli\[coco\]'"):
        require_coco()
