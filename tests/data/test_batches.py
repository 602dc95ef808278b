import pytest
import torch

from ticketcli.data.batches import AUGMENTATIONS, Batches, _Gathered, _Windows, in_order
from ticketcli.data.images import ImageSet, Normalization
from ticketcli.errors import UsageError

PLAIN = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
CPU = torch.device("cpu")


def images(n=50):
    pixels = torch.randint(1, 256, (n, 8, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(n), tuple(map(str, range(n))))


def batches(batch=10, augment="crop-flip", seed=0, n=50):
    return Batches(images(n), normalization=PLAIN, batch=batch, seed=seed, augment=augment, device=CPU)


def epoch_of(made, epoch):
    """Label -> image, over one epoch."""
    found = {}
    for step in range(made.per_epoch):
        for image, label in zip(*made.at(epoch, step), strict=True):
            assert int(label) not in found
            found[int(label)] = image
    return found


@pytest.mark.parametrize("augment", list(AUGMENTATIONS))
def test_what_an_image_looks_like_does_not_depend_on_the_batch_size(augment):
    small, large = epoch_of(batches(5, augment), 3), epoch_of(batches(25, augment), 3)
    assert small.keys() == large.keys() == set(range(50))
    assert all(torch.equal(small[label], large[label]) for label in small)


def test_epochs_differ_and_an_epoch_repeats_itself():
    made = batches()
    first, again, later = epoch_of(made, 0), epoch_of(made, 0), epoch_of(made, 1)
    assert all(torch.equal(first[label], again[label]) for label in first)
    assert sum(torch.equal(first[label], later[label]) for label in first) < 10
    assert list(first) != list(later)


def test_batches_can_be_asked_for_in_any_order():
    forward, backward = batches(), batches()
    wanted = [forward.at(epoch, step)[0] for epoch in (0, 1) for step in range(5)]
    for number, (epoch, step) in reversed(list(enumerate((e, s) for e in (0, 1) for s in range(5)))):
        assert torch.equal(backward.at(epoch, step)[0], wanted[number])


def test_without_augmentation_images_are_only_shuffled():
    for label, image in epoch_of(batches(augment="none"), 0).items():
        assert torch.allclose(image.permute(1, 2, 0) * 255, images().images[label].float(), atol=1e-3)


def test_a_crop_is_a_window_of_the_padded_image_and_mirrors_appear():
    shifted = mirrored = 0
    for label, image in epoch_of(batches(), 0).items():
        padded = torch.nn.functional.pad(images().images[label].permute(2, 0, 1).float(), (4, 4, 4, 4))
        windows = [(padded[:, i : i + 8, j : j + 8], i, j) for i in range(9) for j in range(9)]
        pixels = (image * 255).round()
        plain = [w for w in windows if torch.equal(w[0], pixels)]
        flipped = [w for w in windows if torch.equal(w[0].flip(2), pixels)]
        assert plain or flipped
        shifted += bool([w for w in plain + flipped if w[1:] != (4, 4)])
        mirrored += not plain
    assert shifted > 40
    assert 10 < mirrored < 40


def test_images_that_fill_no_batch_are_left_out_of_the_epoch():
    made = batches(batch=15)
    assert made.per_epoch == 3
    assert all(len(made.at(0, step)[1]) == 15 for step in range(3))


def test_a_set_smaller_than_a_batch_gives_one_batch_with_all_of_it():
    made = batches(batch=512)
    assert made.per_epoch == 1
    assert sorted(made.at(0, 0)[1].tolist()) == list(range(50))


def test_seeds_differ():
    assert epoch_of(batches(seed=0), 0).keys() == epoch_of(batches(seed=1), 0).keys()
    assert list(epoch_of(batches(seed=0), 0)) != list(epoch_of(batches(seed=1), 0))


def test_in_order_shows_every_image_once():
    labels = torch.cat([y for _, y in in_order(images(), PLAIN, 16, CPU)])
    assert labels.tolist() == list(range(50))


def test_an_unknown_augmentation_is_refused():
    with pytest.raises(UsageError, match="unknown augmentation 'flip'"):
        batches(augment="flip")


def test_crops_move_down_and_right_independently():
    """Each image holds its own coordinates: channel 0 counts rows, channel 1 counts columns, from 1."""
    rows, columns = torch.meshgrid(torch.arange(1, 9), torch.arange(1, 9), indexing="ij")
    one = torch.stack([rows, columns, rows], dim=2).to(torch.uint8)
    held = ImageSet(one.repeat(64, 1, 1, 1), torch.arange(64), tuple(map(str, range(64))))
    made = Batches(held, normalization=PLAIN, batch=64, seed=0, augment="shift", device=CPU)
    middle = (made.at(0, 0)[0][:, :2, 4, 4] * 255).round().long() - 5  # [64, 2]: how far each image was moved
    assert len({tuple(moved.tolist()) for moved in middle}) > 15  # of 25; moving on the diagonal alone gives 5
    assert middle.unique().tolist() == [-2, -1, 0, 1, 2]


@pytest.mark.parametrize("contiguous", [True, False])
def test_normalising_leaves_its_input_alone(contiguous):
    pixels = images().images.float()
    if not contiguous:
        pixels = pixels.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)  # planes in memory: no copy is needed
    before = pixels.clone()
    Normalization((0.5,) * 3, (0.25,) * 3).normalize(pixels)
    assert torch.equal(pixels, before)


def test_jigsaw_moves_two_images_of_three_round_in_a_circle_along_one_side():
    rolled = {"neither": 0, "width": 0, "height": 0}
    offsets = set()
    for epoch in range(4):
        plain, moved = (epoch_of(batches(augment=name), epoch) for name in ("crop-flip", "crop-flip-jigsaw"))
        for label, image in moved.items():
            found = [
                (side, offset)
                for side, axis in (("height", 1), ("width", 2))
                for offset in range(8)
                if torch.equal(image, plain[label].roll(-offset, dims=axis))
            ]
            assert found, "not the same crop, moved"
            side, offset = found[0]
            rolled["neither" if not offset else side] += 1
            offsets.add(offset)
    assert sum(rolled.values()) == 200
    moved = 200 / 3 * 7 / 8  # a third along each side, of which one eighth by nothing
    assert all(moved - 20 < rolled[side] < moved + 20 for side in ("width", "height"))
    assert 2 * moved - 15 < rolled["width"] + rolled["height"] < 2 * moved + 15
    assert offsets == set(range(8))


def test_what_jigsaw_does_is_a_function_of_seed_epoch_and_image():
    one, other = (epoch_of(batches(batch, "crop-flip-jigsaw", seed=7), 2) for batch in (5, 25))
    assert all(torch.equal(one[label], other[label]) for label in one)
    again = epoch_of(batches(5, "crop-flip-jigsaw", seed=8), 2)
    assert any(not torch.equal(one[label], again[label]) for label in one)


@pytest.mark.parametrize("augment", ["none", "shift", "crop-flip"])
@pytest.mark.parametrize("channels", [1, 3])
def test_windows_and_rows_of_pixels_make_the_same_bytes(augment, channels):
    pixels = torch.randint(256, (50, 8, 6, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    given = ImageSet(pixels, torch.arange(50), tuple(map(str, range(50))))
    made = Batches(given, normalization=PLAIN, batch=10, seed=3, augment=augment, device=CPU)
    assert isinstance(made._maker, _Windows)
    rows = _Gathered(given, made.order, AUGMENTATIONS[augment], CPU)
    for epoch in range(2):
        for step in range(made.per_epoch):
            assert torch.equal(made._maker.at(epoch, step), rows.at(epoch, step))
