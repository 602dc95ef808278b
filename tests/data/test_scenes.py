"""Scenes: exact outlines, by seed, of images of their own part only."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.data.files import HERE, folder, noise, sources
from ticketcli.data.composition import place, render
from ticketcli.data.cutouts import Cutter, even_background
from ticketcli.data.images import ImageSet, Normalization, Splits
from ticketcli.data.label_maps import batch_of_maps
from ticketcli.data.outlines import bitmap
from ticketcli.data.scenes import COUNTS, NORMALIZATION, load_scenes
from ticketcli.data.sets import load_splits
from ticketcli.data.sources import Wanted
from ticketcli.data.table import natural_augment
from ticketcli.data.views import views_in_order
from ticketcli.errors import UsageError

PLAIN = Normalization((0.5,) * 3, (0.25,) * 3)


@pytest.fixture(scope="module")
def digits():
    return load_splits("scenes", images=60)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = folder(tmp_path_factory.mktemp("photographs"), parts=("train", "val", "test"))
    return load_splits(f"scenes:folder:{root}", images=30, sources=sources(root))


def images_of(n=12, channels=3, level=None):
    """Noise, or drawings: a bright block on an even background."""
    made = [noise(20, 20, number, channels) for number in range(n)]
    if level is not None:
        for one in made:
            one[...] = level
            one[5:15, 4:12] = 255 - level
    return ImageSet(torch.from_numpy(np.stack(made)), torch.arange(n) % 2, ("even", "odd"))


def scenes_of(train, validation=None, test=None, **asked):
    inner = Splits(train, validation or train, test or train, PLAIN)
    return load_scenes(Wanted(HERE, inner=inner, **asked))


def masks_of(picture):
    return [bitmap(one.segmentation, picture.height, picture.width).astype(bool) for one in picture.instances]


@pytest.mark.parametrize("kind", ["digits", "photographs"])
def test_boxes_are_the_bounds_of_masks_areas_their_sums_and_visible_parts_are_disjoint(request, kind):
    splits = request.getfixturevalue(kind)
    for part in (splits.train, splits.validation):
        for picture in part.pictures:
            masks = masks_of(picture)
            assert 1 <= len(masks) <= 6
            assert np.sum(masks, axis=0).max() == 1
            for mask, one in zip(masks, picture.instances, strict=True):
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                assert one.box == (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
                assert one.area == mask.sum()
                assert not one.crowd
    numbers = [one.id for picture in splits.train.pictures for one in picture.instances]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("kind", ["digits", "photographs"])
def test_an_object_changes_the_pixels_of_its_outline_and_none_beyond_its_softness(request, kind):
    scenes = request.getfixturevalue(kind).train.originals
    for index in range(10):
        key = scenes._key(index)
        placed = place(key, scenes.side, scenes.cutter, scenes.members)
        full = render(key, scenes.side, scenes.cutter, placed).astype(int)
        without = render(key, scenes.side, scenes.cutter, placed[:-1]).astype(int)
        changed, seen = (full != without).any(2), placed[-1].seen
        assert changed[seen].mean() > 0.95
        around = np.zeros_like(seen)
        for down in (-2, -1, 0, 1, 2):
            for right in (-2, -1, 0, 1, 2):
                around |= np.roll(seen, (down, right), (0, 1))
        assert not changed[~around].mean() > 0.02


def test_of_every_object_a_quarter_is_seen_and_some_are_hidden_in_part(digits):
    scenes, hidden = digits.train.originals, 0
    for index in range(40):
        for one in place(scenes._key(index), scenes.side, scenes.cutter, scenes.members):
            whole = int((one.cutout.opacity > 0.5).sum())
            assert 4 * one.seen.sum() >= whole
            hidden += int(one.seen.sum()) < whole
    assert hidden > 20


def test_scales_are_a_quarter_to_six_tenths_of_the_side(digits):
    scenes = digits.train.originals
    found = [one for k in range(60) for one in place(scenes._key(k), 64, scenes.cutter, scenes.members)]
    longest = [max(one.cutout.opacity.shape) for one in found]
    assert min(longest) >= 16
    assert max(longest) <= 38
    assert max(longest) - min(longest) > 18


def test_a_scene_is_a_function_of_seed_part_and_number(digits):
    more, other = load_splits("scenes", images=90), load_splits("scenes", images=60, split_seed=1)
    for index in (0, 7, 59):
        scene = digits.train.originals.read(index, 64)
        assert torch.equal(scene, more.train.originals.read(index, 8))
        assert digits.train.pictures[index] == more.train.pictures[index]
        assert not torch.equal(scene, other.train.originals.read(index, 64))
        assert not torch.equal(scene, digits.validation.originals.read(index, 64))
        assert not torch.equal(scene, digits.test.originals.read(index, 64))
    uppermost = [[picture.instances[-1].label for picture in part.pictures[:9]] for part in (digits.train, digits.test)]
    assert uppermost[0] != uppermost[1]  # not the same layout of other images
    some = digits.train.take(torch.tensor([59, 7]))
    assert torch.equal(some.originals.read(1, 64), digits.train.originals.read(7, 64))
    assert some.pictures[0] == digits.train.pictures[59]


def test_the_default_counts():
    splits = load_splits("scenes")
    assert {part: splits.counts()[part] for part in COUNTS} == {"train": 800, "validation": 100, "test": 200} == COUNTS


def test_parts_are_made_of_their_own_parts_images(digits):
    inner = load_splits("digits")
    pools = []
    for name in COUNTS:
        own = {image.numpy().tobytes() for image in getattr(inner, name).images}
        pools.append({image.numpy().tobytes() for image in getattr(digits, name).originals.cutter.images.images})
        assert pools[-1] <= own
    assert not pools[0] & pools[2]
    assert not pools[1] & pools[2]


def test_classes_few_shots_and_seeds_are_asked_of_the_images_inside():
    splits = load_splits("scenes", classes=(5, 7), per_class=3, images=20)
    assert splits.train.class_names == ("5", "7")
    assert len(splits.train.originals.cutter.images.labels) == 6
    assert len(splits.test.originals.cutter.images.labels) > 80
    assert {one.label for picture in splits.train.pictures for one in picture.instances} == {0, 1}


def test_a_larger_canvas_has_the_same_scene_finer(digits):
    large = load_splits("scenes", images=60, image_size=96).train
    assert large.size == 96
    close = 0
    for index in range(20):
        one, other = digits.train.pictures[index], large.pictures[index]
        assert large.originals.read(index, 64).shape == (96, 96, 3)
        if [a.label for a in one.instances] == [b.label for b in other.instances]:
            boxes = [np.array([a.box for a in picture.instances]) for picture in (one, other)]
            close += np.abs(boxes[0] * 1.5 - boxes[1]).max() < 5
    assert close >= 15


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("level", [0, 255, None])
def test_grey_and_coloured_drawings_and_photographs(channels, level):
    whole = scenes_of(images_of(channels=channels, level=level), images=6)
    cutter = whole.train.originals.cutter
    assert cutter.background == level
    for index in range(6):
        scene = whole.train.originals.read(index, 64)
        assert scene.shape == (64, 64, 3)
        assert scene.dtype == torch.uint8
        assert float(scene.float().std()) > 5
    if level is not None:  # the block is 10 x 8, and only the block is the object
        cutout = cutter.cut(0, 30, 0.5)
        assert cutout.opacity.shape == (30, 24)
        assert (cutout.opacity > 0.5).mean() > 0.95


def test_dark_ink_on_light_paper_has_the_outline_of_light_ink_on_dark(digits):
    images = digits.train.originals.cutter.images
    dark = replace(images, images=255 - images.images)
    assert even_background(images, 64) == 0
    assert even_background(dark, 64) == 255
    for index in range(5):
        one, other = (Cutter(pool, level).cut(index, 30, 0.5) for pool, level in ((images, 0), (dark, 255)))
        assert np.allclose(one.opacity, other.opacity)


def test_a_blank_drawing_is_not_placed():
    images = images_of(level=0)
    images.images[3:] = 0
    whole = scenes_of(images, images=10)
    assert all(one.area > 0 for picture in whole.train.pictures for one in picture.instances)
    assert whole.train.originals.read(0, 64).shape == (64, 64, 3)


def test_objects_of_all_classes_are_equally_frequent():
    uneven = images_of(30)
    uneven = uneven.relabelled(torch.tensor([0] * 28 + [1] * 2), ("many", "few"))
    labels = [one.label for picture in scenes_of(uneven, images=200).train.pictures for one in picture.instances]
    assert 0.4 < np.mean(labels) < 0.6


def test_a_class_without_images_is_refused_by_name():
    train = images_of()
    lacking = train.take(torch.nonzero(train.labels == 0).flatten())
    with pytest.raises(UsageError, match="class 'odd' has no validation images") as caught:
        scenes_of(train, validation=lacking)
    assert "3 images of each class" in caught.value.hint


def test_a_set_too_small_to_be_split_is_refused(tmp_path):
    root = folder(tmp_path, parts=("train",), each=2)
    with pytest.raises(UsageError, match="class 'cat' has no"):
        load_splits(f"scenes:folder:{root}", sources=sources(root))


def test_images_without_classes_are_refused(tmp_path):
    root = folder(tmp_path, parts=("train",))
    for name in (f"scenes:images:{root}", "scenes:scenes"):
        with pytest.raises(UsageError, match="made of images with classes"):
            load_splits(name, sources=sources(root))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="need 32 pixels or more"):
        load_splits("scenes", image_size=24)
    with pytest.raises(UsageError, match="unknown image set 'digit'"):
        load_splits("scenes:digit")
    with pytest.raises(UsageError, match="unknown image set 'digits:9'"):
        load_splits("digits:9")


def test_scenes_are_mirrored_as_their_images_may_be():
    assert natural_augment("scenes", 64) == natural_augment("digits", 64)
    assert natural_augment("scenes:cifar10", 64) == "crop-flip"


def test_the_recorded_normalisation_is_about_that_of_the_scenes(digits):
    pixels = torch.stack([digits.train.originals.read(index, 64) for index in range(60)])
    shown = NORMALIZATION.normalize(pixels)
    assert abs(float(shown.mean())) < 0.15
    assert abs(float(shown.std()) - 1) < 0.15


def test_the_files_of_the_set_inside_are_what_a_result_rests_on(photographs):
    assert photographs.counts()["files"]


def test_pictures_are_a_sequence(digits):
    pictures = digits.train.pictures
    assert len(pictures) == len(list(pictures)) == 60
    assert pictures[-1] == pictures[59]
    assert pictures[2:4] == (pictures[2], pictures[3])
    with pytest.raises(IndexError):
        pictures[60]


def test_label_maps_of_scenes_hold_their_classes(digits):
    cpu = torch.device("cpu")
    views = views_in_order(digits.test, NORMALIZATION, short_side=96, long_side=96, batch=5, masks=True, device=cpu)
    shown = next(iter(views))
    maps = batch_of_maps(shown, "category")
    assert maps.shape == (5, 96, 96)
    for found, index in zip(maps, shown.indices, strict=True):
        labels = {one.label for one in digits.test.pictures[index].instances}
        assert set(found.unique().tolist()) == {0} | {1 + label for label in labels}
    assert set(batch_of_maps(shown, "boundary").unique().tolist()) == {0, 1, 2}


def test_scenes_never_change(digits):
    """Where this fails, results of scenes change: raise the stages' versions and say so in the change log."""
    found = [(one.label, *one.box) for one in digits.train.pictures[0].instances]
    assert found == [
        (5, 34.0, 13.0, 13.0, 24.0),
        (6, 9.0, 0.0, 21.0, 28.0),
        (3, 42.0, 19.0, 15.0, 26.0),
        (7, 32.0, 8.0, 17.0, 24.0),
        (0, 19.0, 23.0, 12.0, 17.0),
    ]
