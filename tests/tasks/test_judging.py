"""What is said of a network does not depend on how many images it is shown at a time, nor on their order."""

import pytest
import torch

from tests.drained import drained
from ticketcli.data import scenes
from ticketcli.data.sets import load_splits
from ticketcli.models.architectures import build_encoder
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.tasks.table import TASKS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def splits():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scenes.COUNTS, "validation", 4)
        patch.setitem(scenes.COUNTS, "test", 7)
        yield load_splits("scenes", images=9, split_seed=3)


def judged(task, splits, batch, side=64):
    config = TransferConfig.parse(
        {"data": "scenes", "task": task, "schedule": "tiny", "channels": 8, "short_sides": [side]}, where="transfer"
    )
    head = TASKS[task].head(config, splits, 32)
    model = TASKS[task].build(build_encoder("resnet_small", n_classes=3, seed=0), head, seed=0)
    return drained(TASKS[task].judge(model, splits.test, splits.normalization, head, CPU, batch, "test"))


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_what_a_detector_finds_is_the_same_in_any_batch(task, splits):
    one, all_ = (judged(task, splits, batch) for batch in (1, 7))
    assert len(one.results) == len(all_.results) > 100
    for first, second in zip(*(sorted(r.results, key=lambda e: (e["image_id"], -e["score"])) for r in (one, all_)),
                             strict=True):  # fmt: skip
        assert first["image_id"] == second["image_id"]
        assert first["score"] == pytest.approx(second["score"], abs=1e-4)
    for kind in one.metrics.keys() - {"n"}:
        assert one.metrics[kind]["ap"] == pytest.approx(all_.metrics[kind]["ap"], abs=1e-3)


def test_pixels_are_counted_alike_in_any_batch(splits):
    found = [judged("semantic", splits, batch, side=50).metrics for batch in (1, 3, 7)]
    assert found[0]["n"] == found[1]["n"] == found[2]["n"] == 7 * 50 * 50
    for other in found[1:]:
        assert other["miou"] == pytest.approx(found[0]["miou"], abs=1e-4)


def test_each_task_names_its_classes(splits):
    assert TASKS["segmentation"].class_names(splits, "") == tuple("0123456789")
    assert TASKS["semantic"].class_names(splits, "category") == ("background", *"0123456789")
    assert TASKS["semantic"].class_names(splits, "boundary") == ("background", "interior", "boundary")
