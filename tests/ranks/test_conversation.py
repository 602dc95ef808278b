"""Two processes agree, share batches and measurements, and find what one alone finds."""

import os

import pytest
import torch

from tests.ranks.exercises import exercises
from tests.ranks.members import ends, members
from ticketcli.data.order import Order


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("conversation")
    with members("-W", "error", "-m", "tests.ranks.conversation", folder) as started:
        for ended in ends(started):
            assert ended.code == 0, ended
    return [
        torch.load(folder / f"{rank}.pt", weights_only=False) | {"end": torch.load(folder / f"{rank}-end.pt")}
        for rank in (0, 1)
    ]


@pytest.fixture(scope="module")
def alone():
    return exercises()


def test_both_are_told_the_same(both):
    wanted = {
        "any": [False, True],
        "agreed": ["", "SIGTERM"],
        "told": "of 0",
        "gathered": ["of 0", "of 1"],
        "sum": [1.0, 2.0],
        "mean": [7.0, 7.0],
        "alike": "nothing was refused",
    }
    assert [one["agreement"] for one in both] == [wanted, wanted]


def test_the_slices_of_two_make_the_batch_of_one(both):
    order = Order(11, 5, seed=3)
    steps = [(epoch, step) for epoch in (0, 1) for step in (0, 1)]
    joined = [one + other for one, other in zip(*(part["slices"]["chosen"] for part in both), strict=True)]
    assert joined == [order.chosen(*step).tolist() for step in steps]
    assert [part["slices"]["share"] for part in both] == [0.4, 0.6]


def test_a_batch_with_fewer_images_than_processes_is_refused(both):
    for one in both:
        assert "UsageError: a batch of 1 image cannot be divided among 2 processes" in one["slices"]["too small"]
        assert "--nproc 1" in one["slices"]["too small"]


def test_with_frozen_statistics_the_weights_are_those_of_one_process_to_one_in_a_million(both, alone):
    for one in both:
        for name, value in alone["still"]["weights"].items():
            assert torch.allclose(value, one["still"]["weights"][name], rtol=1e-5, atol=1e-6), name
        assert one["still"]["batch"] == 15
        assert one["still"]["shown"] == pytest.approx(alone["still"]["shown"], rel=1e-5)
        assert one["still"]["mask"].overlap(alone["still"]["mask"]) > 0.9999


def test_parts_of_a_batch_add_up_to_the_whole_in_two_processes_too(both, alone):
    for name, value in alone["still"]["weights"].items():
        for found in (alone["parts"], both[0]["parts"]):
            assert torch.allclose(value, found["weights"][name], rtol=1e-5, atol=1e-6), name
    assert both[0]["parts"]["shown"] == pytest.approx(alone["still"]["shown"], rel=1e-5)


@pytest.mark.parametrize("how", ["parts", "ways"])
def test_however_it_is_computed_both_end_in_the_same_bytes(both, how):
    one, other = (part[how]["weights"] for part in both)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_both_have_the_same_bytes_in_the_end_running_statistics_too(both, alone):
    one, other = (part["moving"] for part in both)
    assert all(torch.equal(value, other["weights"][name]) for name, value in one["weights"].items())
    assert one["shown"] == other["shown"]
    assert one["mask"] == other["mask"]
    means = [found["weights"]["layer4.0.bn1.running_mean"] for found in (one, alone["moving"])]
    assert not torch.equal(*means)  # each has the statistics of its own part of a batch


def test_masks_that_differ_end_both_and_name_the_round(both):
    for one in both:
        assert "TicketError: the processes disagree: the mask of round 4 of process 1 differs" in one["masks"]


def test_a_loss_that_is_no_number_in_one_process_stops_both_before_they_step(both, alone):
    for one in (*both, alone):
        assert "DivergedError" in one["divergence"]["words"]
        assert "at step 3" in one["divergence"]["words"]
        assert one["divergence"]["stands"]


def test_the_ratio_of_gradients_is_that_of_whole_batches(both, alone):
    assert both[0]["ratio"] == both[1]["ratio"] == pytest.approx(alone["ratio"], rel=1e-6)


def test_every_pixel_that_counts_weighs_alike_in_whichever_process(both, alone):
    for one in both:
        assert one["pixels"] == pytest.approx(alone["pixels"], rel=1e-5)


def test_measurements_are_those_of_one_process_to_the_last_bit(both, alone):
    for one in both:
        for n, wanted in alone["measuring"].items():
            assert one["measuring"][n]["found"] == wanted["found"]


def test_a_process_without_a_batch_pauses_as_often_as_the_other(both, alone):
    for one in both:
        assert [one["measuring"][n]["pauses"] for n in (1, 7)] == [[1], [2, 4, 6, 7]]
    assert alone["measuring"][7]["pauses"] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("task", ["semantic", "detection"])
def test_pixels_and_objects_are_counted_as_one_process_counts_them(both, alone, task):
    for one in both:
        assert one["judged"][task] == alone["judged"][task]


def test_a_loss_that_never_touches_the_head_keeps_nobody_waiting(both):
    assert both[0]["rec"] == both[1]["rec"]


def test_two_processes_do_not_share_a_gpu(both):
    for one in both:
        assert "2 processes cannot share 'cuda:0'" in one["gpu"]


def test_published_weights_are_fetched_by_one_and_found_by_the_other(both):
    assert [one["fetching"] for one in both] == [[False], [True]]


def test_the_cores_of_a_machine_are_divided_among_its_processes(both):
    assert both[0]["workers"] == min(8, max(1, len(os.sched_getaffinity(0)) // 2))


def test_what_was_made_says_how_many_made_it(both):
    assert both[0]["processes"] == 2


@pytest.mark.slow
def test_where_three_add_up_a_continued_training_still_ends_in_the_same_bytes(tmp_path):
    """DistributedDataParallel changes the order of additions after its first step."""
    with members("-W", "error", "-m", "tests.ranks.three", tmp_path, n=3) as started:
        for ended in ends(started):
            assert ended.code == 0, ended
    straight, resumed = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert all(torch.equal(value, resumed[name]) for name, value in straight.items())


def test_one_with_an_error_of_its_own_ends_with_it_and_the_other_has_lost_a_peer(both):
    first, second = (one["end"] for one in both)
    assert first[0] == 1
    assert "another process of this run has ended" in first[1]
    assert first[2] < 5.0
    assert second[:2] == (6, "the image is damaged")
