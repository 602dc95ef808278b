"""Whether images are in memory, and how many workers there are, changes no byte."""

import gc
import hashlib
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from tests.data.files import HERE, folder, noise, save, sources
from ticketcli.data import lazy
from ticketcli.data.batches import AUGMENTATIONS, Batches, in_order
from ticketcli.data.images import ImageSet, Normalization, limit
from ticketcli.data.lazy import LazySet
from ticketcli.data.sets import load_splits
from ticketcli.errors import CorruptError, TicketError

PLAIN = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("set"), each=11)


@pytest.fixture
def no_memory(monkeypatch):
    monkeypatch.setattr(lazy, "MEMORY_BYTES", 0)


def train(root, *, workers=0, size=24):
    return load_splits(f"folder:{root}", image_size=size, sources=sources(root, workers)).train


def batches(images, augment="crop-flip", batch=5):
    return Batches(images, normalization=PLAIN, batch=batch, seed=0, augment=augment, device=CPU)


def digest(made, places):
    found = hashlib.sha256()
    for epoch, step in places:
        images, labels = made.at(epoch, step)
        found.update(images.numpy().tobytes() + labels.numpy().tobytes())
    return found.hexdigest()


PLACES = [(epoch, step) for epoch in range(2) for step in range(4)]


@pytest.mark.parametrize("augment", list(AUGMENTATIONS))
@pytest.mark.parametrize("size", [24, 128])
def test_digests_are_equal_in_memory_and_with_0_1_and_2_workers(root, monkeypatch, augment, size):
    held = train(root, size=size)
    assert held.in_memory() is not None
    wanted = digest(batches(held, augment), PLACES)
    monkeypatch.setattr(lazy, "MEMORY_BYTES", 0)
    for workers in (0, 1, 2):
        images = train(root, workers=workers, size=size)
        assert images.in_memory() is None
        assert digest(batches(images, augment), PLACES) == wanted


@pytest.mark.parametrize("augment", ["crop-flip", "resized-crop"])
@pytest.mark.parametrize("start", [1, 3, 6])
def test_a_stream_begun_anywhere_goes_on_like_the_one_from_the_start(root, no_memory, augment, start):
    images = train(root, workers=2)
    whole = batches(images, augment)
    for place in PLACES[:start]:
        whole.at(*place)
    assert digest(whole, PLACES[start:]) == digest(batches(images, augment), PLACES[start:])


def test_batches_can_be_asked_for_in_any_order(root, no_memory):
    images = train(root, workers=1)
    forward = [batches(images).at(*place)[0] for place in PLACES]
    made = batches(images)
    for place, wanted in reversed(list(zip(PLACES, forward, strict=True))):
        assert torch.equal(made.at(*place)[0], wanted)


def test_what_an_image_looks_like_does_not_depend_on_the_batch_size(root, no_memory):
    def by_content(batch):
        made = batches(train(root), "resized-crop", batch)
        images = torch.cat([made.at(0, step)[0] for step in range(made.per_epoch)])
        return sorted(image.numpy().tobytes() for image in images)

    assert by_content(2) == by_content(10)


def test_all_images_come_in_order_the_same_way(root, monkeypatch):
    def shown(images):
        return [torch.cat(column) for column in zip(*in_order(images, PLAIN, 7, CPU), strict=True)]

    held = shown(train(root))
    monkeypatch.setattr(lazy, "MEMORY_BYTES", 0)
    for workers in (0, 2):
        images, labels = shown(train(root, workers=workers))
        assert torch.equal(images, held[0])
        assert torch.equal(labels, held[1])
    assert len(held[0]) == 20


def test_taking_and_limiting_choose_the_same_images_in_memory_and_out_of_it(root, monkeypatch):
    def shown(images):
        return next(iter(in_order(images, PLAIN, 100, CPU)))

    held = train(root)
    held.in_memory()
    chosen = torch.tensor([3, 1, 8])
    some, few = shown(held.take(chosen)), shown(limit(held, 2, 0))
    monkeypatch.setattr(lazy, "MEMORY_BYTES", 0)
    assert all(torch.equal(a, b) for a, b in zip(some, shown(train(root).take(chosen)), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(few, shown(limit(train(root), 2, 0)), strict=True))


def test_what_is_in_memory_is_not_decoded_again(root, monkeypatch):
    images = train(root)
    images.in_memory()
    monkeypatch.setattr(lazy, "prepare", None)
    assert len(images.take(torch.tensor([1, 2])).in_memory().labels) == 2


def test_narrowing_a_folder_keeps_the_listed_classes(root):
    splits = load_splits(f"folder:{root}", classes=(1,), image_size=24, sources=sources(root))
    whole = train(root)
    assert splits.train.class_names == ("dog",)
    dogs = whole.in_memory().images[whole.labels == 1]
    assert torch.equal(splits.train.in_memory().images, dogs)


def test_bytes_of_another_size_are_resized_once(monkeypatch):
    digits = load_splits("digits", image_size=40, sources=HERE)
    held = digits.train.in_memory()
    assert held.images.shape[1:] == (40, 40, 3)
    monkeypatch.setattr(lazy, "MEMORY_BYTES", 0)
    streamed = LazySet(digits.train.originals, digits.train.labels, digits.train.class_names, 40, sources(Path(), 1))
    assert digest(batches(held), PLACES[:2]) == digest(batches(streamed), PLACES[:2])


def test_one_grey_channel_shows_what_three_equal_ones_show():
    grey = ImageSet(torch.from_numpy(noise(20, 20, 0, channels=8)).permute(2, 0, 1)[..., None], torch.arange(8), ("a",))
    colour = ImageSet(grey.images.expand(-1, -1, -1, 3).contiguous(), grey.labels, ("a",))
    normalization = Normalization((0.1, 0.2, 0.3), (0.3, 0.4, 0.5))
    for augment in AUGMENTATIONS:
        one, three = (
            Batches(images, normalization=normalization, batch=8, seed=0, augment=augment, device=CPU).at(0, 0)[0]
            for images in (grey, colour)
        )
        assert torch.equal(one, three)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("memory", [True, False])
def test_a_broken_file_is_named_whoever_meets_it(tmp_path, monkeypatch, workers, memory):
    path = folder(tmp_path, each=5) / "train" / "dog" / "000.jpg"
    path.write_bytes(path.read_bytes()[:200])
    if not memory:
        monkeypatch.setattr(lazy, "MEMORY_BYTES", 0)
    images = train(tmp_path, workers=workers)
    with pytest.raises(CorruptError, match="cannot be decoded") as caught:
        for step in range(3):
            batches(images, batch=4).at(0, step)
    assert caught.value.where == str(path)
    assert "Traceback" not in str(caught.value)


def children():
    gc.collect()
    return multiprocessing.active_children()


def test_no_worker_outlives_its_batches(root, no_memory):
    made = batches(train(root, workers=2))
    made.at(0, 0)
    assert len(children()) == 2
    made.close()
    assert not children()
    made.at(0, 1)
    del made
    assert not children()


def test_a_look_at_all_images_that_is_broken_off_leaves_no_worker(root, no_memory):
    looking = iter(in_order(train(root, workers=1), PLAIN, 2, CPU))
    next(looking)
    looking.close()
    assert not children()


def test_the_global_generator_is_left_alone(root, no_memory):
    before = torch.get_rng_state()
    batches(train(root, workers=1)).at(0, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_pass_over_the_signals_that_stop_a_run(root, no_memory):
    made, alone = batches(train(root, workers=1)), batches(train(root))
    made.at(0, 0)
    for child in children():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            os.kill(child.pid, number)
    assert digest(made, PLACES[1:]) == digest(alone, PLACES[1:])


def test_a_killed_worker_is_an_error_with_advice_and_no_hang(root, no_memory):
    made = batches(train(root, workers=1))
    made.at(0, 0)
    with pytest.raises(TicketError, match="a process that decodes images ended") as caught:
        for child in children():
            os.kill(child.pid, signal.SIGKILL)
        for place in PLACES[1:] * 9:
            made.at(*place)
    assert "--workers 0" in caught.value.hint


def test_a_long_list_of_one_file_is_read_by_its_own_name(tmp_path):
    save(tmp_path / "train" / "a" / "ünï.png", noise(30, 30, 0))
    save(tmp_path / "train" / "a" / "x y.png", noise(30, 30, 1))
    save(tmp_path / "train" / "a" / "z.png", noise(30, 30, 2))
    splits = load_splits(f"folder:{tmp_path}", image_size=30, sources=sources(tmp_path))
    shown = {
        image.numpy().tobytes()
        for part in (splits.train, splits.validation, splits.test)
        for image in part.in_memory().images
    }
    assert shown == {noise(30, 30, seed).tobytes() for seed in range(3)}
