"""Images with objects as batches: the same bytes wherever, whenever and beside whatever they are made."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models.detection.transform import resize_boxes

from tests.data.files import noise, save
from tests.data.outlined import assembled, disc, discs, instance, outlined
from ticketcli.annotations.pictures import Instance, Picture
from ticketcli.data import lazy, views
from ticketcli.data.images import Normalization
from ticketcli.data.outlines import bitmap, run_lengths
from ticketcli.data.sampling import sampled_masks
from ticketcli.data.showing import show, shown_size
from ticketcli.data.views import InstanceBatches, views_in_order
from ticketcli.errors import CorruptError, InputMissing, UsageError

PLAIN = Normalization((0.3, 0.4, 0.5), (0.2, 0.25, 0.3))
CPU = torch.device("cpu")
PLACES = [(epoch, step) for epoch in range(2) for step in range(4)]


def batches(images, batch=3, masks=True, mirrored=True, short_sides=(32, 48, 70), long_side=100):
    return InstanceBatches(
        images, normalization=PLAIN, batch=batch, seed=0, short_sides=short_sides, long_side=long_side,
        mirrored=mirrored, masks=masks, device=CPU,
    )  # fmt: skip


def in_order(images, batch=3, masks=True, short_side=48, long_side=80):
    found = views_in_order(
        images, PLAIN, short_side=short_side, long_side=long_side, batch=batch, masks=masks, device=CPU
    )
    return list(found)


def digest(shown):
    found = hashlib.sha256(repr((shown.sizes, shown.indices)).encode())
    for tensor in (
        shown.images,
        *(part for one in shown.objects for part in (one.boxes, one.labels, one.masks, one.crowd)),
    ):
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def by_image(shown):
    """Index -> (the part of the canvas that it fills, its objects)."""
    parts = zip(shown.indices, shown.images, shown.sizes, shown.objects, strict=True)
    return {index: (image[:, :h, :w], objects) for index, image, (h, w), objects in parts}


@pytest.fixture
def elsewhere(monkeypatch):
    """Nothing is remembered, and no batch is small enough to be made in this process."""
    monkeypatch.setattr(lazy, "MEMORY_BYTES", 0)


def test_batches_are_equal_in_memory_and_with_0_1_and_2_workers(tmp_path, monkeypatch):
    held = batches(outlined(tmp_path))
    wanted = [digest(held.at(*place)) for place in PLACES]
    assert len(held._stream.work.images.remembered) == 12
    monkeypatch.setattr(lazy, "MEMORY_BYTES", 0)
    for workers in (0, 1, 2):
        images = outlined(tmp_path, workers=workers)
        made = batches(images)
        assert [digest(made.at(*place)) for place in PLACES] == wanted
        assert not images.remembered
        made.close()


@pytest.mark.parametrize("start", [1, 3, 6])
def test_a_stream_begun_anywhere_goes_on_like_the_one_from_the_start(tmp_path, elsewhere, start):
    images = outlined(tmp_path, workers=1)
    whole, later = batches(images), batches(images)
    wanted = [digest(whole.at(*place)) for place in PLACES]
    assert [digest(later.at(*place)) for place in PLACES[start:]] == wanted[start:]
    assert digest(later.at(*PLACES[0])) == wanted[0]
    whole.close()
    later.close()


def test_what_an_image_looks_like_in_an_epoch_does_not_depend_on_the_batch_size(tmp_path):
    images = outlined(tmp_path)

    def epoch(batch):
        made = batches(images, batch)
        return {k: v for step in range(made.per_epoch) for k, v in by_image(made.at(1, step)).items()}

    small, large = epoch(2), epoch(12)
    assert small.keys() == large.keys() == set(range(12))
    for index, (image, objects) in small.items():
        assert torch.equal(image, large[index][0])
        assert torch.equal(objects.masks, large[index][1].masks)
        assert torch.equal(objects.boxes, large[index][1].boxes)


def test_every_short_side_and_both_directions_appear(tmp_path):
    images = outlined(tmp_path, n=40)
    made = batches(images, 40)
    shown = made.at(0, 0)
    plain = {k: v[0] for k, v in by_image(batches(images, 40, mirrored=False).at(0, 0)).items()}
    sides = [min(size) for index, size in zip(shown.indices, shown.sizes, strict=True) if index % 5 == 1]  # squares
    assert set(sides) == {32, 48, 70}
    turned = [index for index, (image, _) in by_image(shown).items() if not torch.equal(image, plain[index])]
    assert 10 < len(turned) < 30
    assert all(torch.equal(by_image(shown)[index][0].flip(2), plain[index]) for index in turned)
    later = made.at(1, 0)
    first, again = (dict(zip(each.indices, each.sizes, strict=True)) for each in (shown, later))
    assert sum(first[index] != again[index] for index in range(40)) > 15


@pytest.mark.parametrize("workers", [0, 2])
def test_in_order_the_canvas_of_an_image_is_the_same_in_batches_of_1_3_and_8(tmp_path, monkeypatch, workers):
    if workers:
        monkeypatch.setattr(lazy, "MEMORY_BYTES", 0)
    images = outlined(tmp_path, n=20, workers=workers)
    found = []
    for batch in (1, 3, 8):
        made = in_order(images, batch)
        assert sorted(index for shown in made for index in shown.indices) == list(range(20))
        assert max(len(shown.indices) for shown in made) == min(batch, 8)
        canvases = {index: canvas for shown in made for index, canvas in zip(shown.indices, shown.images, strict=True)}
        found.append([canvases[index].numpy().tobytes() for index in range(20)])
    assert found[0] == found[1] == found[2]
    assert len({shown.images.shape[2:] for shown in in_order(images, 8)}) > 1


def test_around_an_image_are_zeros_to_the_next_multiple_of_32(tmp_path):
    shown = batches(outlined(tmp_path), 12).at(0, 0)
    tallest, widest = (max(sides) for sides in zip(*shown.sizes, strict=True))
    assert shown.images.shape[2:] == (-(-tallest // 32) * 32, -(-widest // 32) * 32)
    for image, (h, w) in zip(shown.images, shown.sizes, strict=True):
        assert not image[:, h:].any()
        assert not image[:, :, w:].any()
        assert (image[:, :h, :w] != 0).all()  # no byte is normalised to zero here


@pytest.mark.parametrize(
    ("extent", "short", "long", "expected"),
    [((480, 640), 800, 1333, (800, 1067)), ((640, 480), 800, 1333, (1067, 800)), ((100, 500), 800, 1333, (267, 1333)),
     ((64, 64), 96, 128, (96, 96)), ((1, 400), 32, 64, (1, 64))],
)  # fmt: skip
def test_sides_are_those_of_detectron2(extent, short, long, expected):
    assert shown_size(extent, short, long) == expected


def view(images, index, size, training=False):
    return show(images, index, images.originals.read(index, 64), size, masks=True, training=training)


def test_mirrored_twice_is_as_before(tmp_path):
    images = outlined(tmp_path)
    once = view(images, 3, (37, 61))
    twice = once.mirrored().mirrored()
    assert not torch.equal(once.image, once.mirrored().image)
    assert torch.equal(once.image, twice.image)
    assert torch.equal(once.masks, twice.masks)
    assert torch.allclose(once.boxes, twice.boxes, atol=1e-5)


def bounds(masks):
    found = []
    for mask in masks:
        rows, columns = torch.nonzero(mask.any(1)).flatten(), torch.nonzero(mask.any(0)).flatten()
        found.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return torch.tensor(found, dtype=torch.float32)


@pytest.mark.parametrize("size", [(40, 52), (120, 156), (77, 31), (20, 26), (64, 64)])
@pytest.mark.parametrize("mirror", [False, True])
def test_boxes_follow_masks(tmp_path, size, mirror):
    mask = disc(40, 52, 3)
    save(tmp_path / "one.png", noise(40, 52, 0))
    images = assembled(tmp_path, [Picture(0, "one.png", 40, 52, (instance(1, mask), instance(2, disc(40, 52, 8))))])
    shown = view(images, 0, size)
    shown = shown.mirrored() if mirror else shown
    assert float((bounds(shown.masks) - shown.boxes).abs().max()) <= 1


def test_a_shown_pixel_is_an_objects_where_its_centre_is():
    mask = np.random.default_rng(0).random((9, 14)) < 0.5
    found = sampled_masks([run_lengths(mask)], (9, 14), (23, 5))[0].numpy()
    wanted = [[mask[(2 * i + 1) * 9 // 46, (2 * j + 1) * 14 // 10] for j in range(5)] for i in range(23)]
    assert np.array_equal(found.astype(bool), wanted)
    assert np.array_equal(
        sampled_masks([run_lengths(mask)], (9, 14), (9, 14))[0].numpy(), bitmap(run_lengths(mask), 9, 14)
    )
    assert not sampled_masks([run_lengths(np.zeros((9, 14), bool))], (9, 14), (23, 5)).any()


def test_boxes_go_back_to_original_pixels(tmp_path):
    """By the function that detectors give back what they found with."""
    images = outlined(tmp_path)
    shown = next(shown for shown in in_order(images, 1) if shown.indices == (3,))
    back = resize_boxes(shown.objects[0].boxes, shown.sizes[0], (50, 90))
    x, y, width, height = np.array([one.box for one in images.pictures[3].instances]).T
    assert np.allclose(back.numpy(), np.stack([x, y, x + width, y + height], axis=1), atol=1e-4)


def test_crowds_and_labels_come_with_their_objects(tmp_path):
    shown = batches(outlined(tmp_path), 12).at(0, 0)
    for index, objects in zip(shown.indices, shown.objects, strict=True):
        assert objects.labels.tolist() == [0, 1, 0][: index % 4]
        assert objects.crowd.tolist() == [False, False, True][: index % 4]
        assert len(objects.masks) == index % 4


def test_without_masks_there_are_none(tmp_path):
    shown = batches(outlined(tmp_path), 12, masks=False).at(0, 0)
    for (h, w), objects in zip(shown.sizes, shown.objects, strict=True):
        assert objects.masks.shape == (0, h, w)
    assert sum(len(objects.boxes) for objects in shown.objects) == 18


def test_an_object_thinner_than_anything_is_left_out_of_training_only(tmp_path):
    save(tmp_path / "one.png", noise(40, 52, 0))
    thin = Instance(2, 1, (3.0, 4.0, 0.0005, 9.0), run_lengths(disc(40, 52, 1)), 0.0)
    images = assembled(tmp_path, [Picture(0, "one.png", 40, 52, (thin, *discs(1, 40, 52, 0)))])
    assert view(images, 0, (40, 52), training=True).labels.tolist() == [0]
    assert len(view(images, 0, (40, 52), training=True).masks) == 1
    assert view(images, 0, (40, 52)).labels.tolist() == [1, 0]


def test_masks_of_objects_that_have_only_boxes_are_refused(tmp_path):
    save(tmp_path / "one.png", noise(40, 52, 0))
    images = assembled(tmp_path, [Picture(0, "one.png", 40, 52, (Instance(1, 0, (1.0, 1.0, 9.0, 9.0), None, 81.0),))])
    assert in_order(images, masks=False)[0].objects[0].boxes.shape == (1, 4)
    with pytest.raises(UsageError, match="a box but no outline") as caught:
        in_order(images)
    assert caught.value.where == "one.png"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_decoded_ends_with_its_name(tmp_path, monkeypatch, workers):
    if workers:
        monkeypatch.setattr(lazy, "MEMORY_BYTES", 0)
    images = outlined(tmp_path, workers=workers)
    (tmp_path / "007.png").write_bytes((tmp_path / "007.png").read_bytes()[:200])
    with pytest.raises(CorruptError, match="cannot be decoded") as caught:
        in_order(images)
    assert caught.value.where.endswith("007.png")
    made = batches(images, 12)
    with pytest.raises(CorruptError):
        made.at(0, 0)
    made.close()


def test_an_image_of_another_size_than_its_annotations_is_refused(tmp_path):
    images = outlined(tmp_path)
    save(tmp_path / "004.png", noise(31, 30, 0))
    with pytest.raises(CorruptError, match="is 30 x 31 pixels, its annotations are for 31 x 30") as caught:
        in_order(images)
    assert caught.value.where == "004.png"


def test_a_large_jpeg_may_come_at_a_reduced_scale(tmp_path):
    save(tmp_path / "large.jpg", noise(301, 403, 0))
    images = assembled(tmp_path, [Picture(0, "large.jpg", 301, 403, discs(2, 301, 403, 0))])
    assert images.originals.read(0, 32).shape[:2] == (151, 202)
    shown = in_order(images, short_side=32)[0]
    assert shown.sizes == ((32, 43),)
    assert shown.objects[0].masks.shape == (2, 32, 43)


def test_originals_are_read_for_the_largest_short_side(tmp_path):
    save(tmp_path / "large.jpg", noise(301, 403, 0))
    images = assembled(tmp_path, [Picture(0, "large.jpg", 301, 403)])
    batches(images, 1, short_sides=(32, 100)).at(0, 0)
    assert [tuple(original.shape) for original in images.remembered.values()] == [(301, 403, 3)]


def test_what_is_remembered_is_not_read_again(tmp_path):
    images = outlined(tmp_path)
    made = batches(images)
    before = [digest(made.at(0, step)) for step in range(made.per_epoch)]
    for path in tmp_path.iterdir():
        path.unlink()
    assert [digest(made.at(0, step)) for step in range(made.per_epoch)] == before
    with pytest.raises(InputMissing):
        in_order(images.take(torch.arange(12)))


def test_no_images_to_train_on_is_said(tmp_path):
    images = outlined(tmp_path).take(torch.arange(0))
    with pytest.raises(UsageError, match="no images to train on"):
        batches(images)
    assert in_order(images) == []


def labelled(tmp_path, labels):
    save(tmp_path / "one.png", noise(40, 52, 0))
    images = assembled(tmp_path, [Picture(0, "one.png", 40, 52, labels="one-labels.png")], folder=tmp_path)
    labels.save(tmp_path / "one-labels.png")
    return replace(images, class_names=tuple(map(str, range(255))))


def test_label_images_keep_their_numbers_and_follow_the_image(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 256, (40, 52), dtype=np.uint8)
    palette = Image.fromarray(numbers)
    palette.putpalette(list(range(255, -1, -1)) * 3)
    assert palette.mode == "P"
    images = labelled(tmp_path, palette)
    assert np.array_equal(view(images, 0, (40, 52)).label_map.numpy(), numbers)
    assert np.array_equal(view(images, 0, (80, 104)).label_map.numpy(), numbers.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(view(images, 0, (40, 52)).mirrored().label_map.numpy(), numbers[:, ::-1])
    made = batches(images, 1, short_sides=(40,))
    assert torch.equal(made.at(0, 0).objects[0].label_map.sort(1).values, torch.from_numpy(np.sort(numbers, 1)))


def test_label_images_that_cannot_be_meant_are_refused(tmp_path):
    with pytest.raises(CorruptError, match="52 x 40"):
        view(labelled(tmp_path, Image.new("L", (40, 52))), 0, (40, 52))
    with pytest.raises(CorruptError, match="colours of kind RGB"):
        view(labelled(tmp_path, Image.new("RGB", (52, 40))), 0, (40, 52))
    images = labelled(tmp_path, Image.new("L", (52, 40)))
    (tmp_path / "one-labels.png").write_bytes(b"x")
    with pytest.raises(CorruptError, match="not an image"):
        view(images, 0, (40, 52))
    (tmp_path / "one-labels.png").unlink()
    with pytest.raises(InputMissing, match="label image"):
        view(images, 0, (40, 52))


def test_batches_too_large_to_be_made_here_are_made_by_workers(tmp_path, monkeypatch):
    images = outlined(tmp_path, workers=1)
    wanted = digest(batches(images).at(0, 0))
    monkeypatch.setattr(views, "_HERE", 0)
    made = batches(images)
    assert made._stream.n_workers == 1
    assert digest(made.at(0, 0)) == wanted
    made.close()
