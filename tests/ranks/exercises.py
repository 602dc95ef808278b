"""Work that one process does alone, and two do together: what comes out is compared."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.drained import drained
from tests.stages.small_job import run_prune
from ticketcli.data import scenes
from ticketcli.data.batches import Batches
from ticketcli.data.series import Series
from ticketcli.data.sets import load_splits
from ticketcli.errors import TicketError
from ticketcli.events import Pause, Progress
from ticketcli.metrics.quality import Rebuild, quality
from ticketcli.models.architectures import build_encoder, prunable
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.store.mask import Mask
from ticketcli.tasks.table import TASKS
from ticketcli.tensors import ranks
from ticketcli.tensors.files import copy_of
from ticketcli.tensors.select import drop_smallest
from ticketcli.training.gradient_ratio import gradient_ratio
from ticketcli.training.loop import Run, train
from ticketcli.training.replicas import Replica
from ticketcli.units import Duration

CPU = torch.device("cpu")


def refused(action):
    """The error that an action ends with, in words."""
    try:
        action()
    except TicketError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"


def half_mask(model):
    weights = prunable(model)
    return drop_smallest(weights, Mask.full({name: tuple(one.shape) for name, one in weights.items()}), fraction=0.5)


def small_run(*, batch, length, still, **settings):
    """Fifteen digits a batch have unequal slices where two share one."""
    splits = load_splits("digits", classes=(0, 1, 2), per_class=20, seed=0)
    model = build_encoder("resnet_small", n_classes=3, seed=0)
    config = PruneConfig.parse({"batch": batch, "lr": 0.01, "clip": 1.0, **settings}, where="p")
    feed = Batches(splits.train, normalization=splits.normalization, batch=batch, seed=0, augment="shift", device=CPU)
    loss = lambda x, y: {"loss": F.cross_entropy(model(x), y), "scale": model(x).square().mean()}  # noqa: E731
    norms = tuple(part for part in model.modules() if isinstance(part, nn.BatchNorm2d)) if still else ()
    length = Duration.parse(length)
    return Run("exercise", model, loss, feed, config, length, prunable(model), half_mask(model), still=norms)


def training(*, still, **settings):
    """The weights after four steps, the losses that were shown, and the images counted."""
    run = small_run(batch=15, length="4it", still=still, **settings)
    shown = [event for event in train(run) if isinstance(event, Progress)]
    mask = drop_smallest(run.prunable, run.mask, fraction=0.3)
    return {"weights": copy_of(run.model), "shown": dict(shown[-1].values), "batch": shown[-1].batch, "mask": mask}


def divergence():
    """A loss that is no number in one process alone, the last."""
    run = small_run(batch=15, length="10it", still=False)
    before = []

    def loss(images, labels):
        before.append(copy_of(run.model))
        found = run.loss(images, labels)
        is_last = ranks.rank() == ranks.world() - 1
        return {"loss": found["loss"] * torch.nan} if len(before) == 3 and is_last else {"loss": found["loss"]}

    words = refused(lambda: list(train(replace(run, loss=loss))))
    stands = all(torch.equal(one, dict(run.model.named_parameters())[name])
                 for name, one in before[-1].items() if name in dict(run.model.named_parameters()))  # fmt: skip
    return {"words": words, "stands": stands}


def ratio():
    """Of two losses of a network without statistics, over two batches with unequal slices."""
    splits = load_splits("digits", classes=(0, 1, 2), per_class=20, seed=0)
    feed = Batches(splits.train, normalization=splits.normalization, batch=15, seed=0, augment="none", device=CPU)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))
    nn.init.zeros_(model[1].bias)
    nn.init.normal_(model[1].weight, generator=torch.Generator().manual_seed(0))
    losses = lambda x, y: (F.cross_entropy(model(x), y), model(x).square().mean())  # noqa: E731
    weights = {"1.weight": model[1].weight}
    batches = [feed.at(0, step) for step in (0, 1)]
    return gradient_ratio(model, weights, Mask.full({"1.weight": (3, 3072)}), losses, batches, share=feed.share)


def pixels():
    """The loss over a batch of five scenes of two sizes: those of the smaller have pixels that do not count."""
    splits = load_splits("scenes", images=5, split_seed=3)
    settings = {"data": "scenes", "task": "semantic", "schedule": "tiny", "batch": 5, "short_sides": [32, 64]}
    config = TransferConfig.parse(settings, where="transfer")
    head = TASKS["semantic"].head(config, splits, 32)
    model = nn.Conv2d(3, len(head.class_names), 1)  # that sees no more than a pixel, wherever the canvas ends
    for number, one in enumerate(model.parameters()):
        nn.init.normal_(one, generator=torch.Generator().manual_seed(number))
    feed = TASKS["semantic"].feed(config, splits, head, CPU)
    replica = Replica(model, TASKS["semantic"].loss(model, head), feed.share, config)
    losses = replica.learn(feed.at(0, 0))
    return {**replica.means(losses), "gradient": model.weight.grad.norm().item()}


class Judge(nn.Module):
    """An encoder and a decoder that need no training."""

    def taps_and_logits(self, x):
        return {"tap": x}, x.mean(dim=(2, 3))

    def forward(self, taps, *, t):
        return taps["tap"] * (0.9 + t / 10)


def series(n):
    """Batches of four images, the last of one."""

    def make(tasks):
        for task in tasks:
            draw = torch.Generator().manual_seed(task)
            size = 1 if task == n - 1 else 4
            yield torch.rand(size, 3, 5, 5, generator=draw), torch.randint(0, 3, (size,), generator=draw)

    return Series(range(n), make)


def measuring(n):
    """What is measured on a number of batches, and the pauses on the way."""
    events = quality(Judge(), series(n), Rebuild(Judge(), lambda x: x, t=0.3), what="seven")
    pauses = []
    while True:
        try:
            pauses.append(next(events))
        except StopIteration as end:
            assert all(isinstance(pause, Pause) and pause.total == n for pause in pauses)
            return {"found": end.value, "pauses": [pause.done for pause in pauses]}


def judged(task):
    """A network that learnt nothing, on seven scenes, two at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scenes.COUNTS, "validation", 4)
        patch.setitem(scenes.COUNTS, "test", 7)
        splits = load_splits("scenes", images=9, split_seed=3)
    config = TransferConfig.parse({"data": "scenes", "task": task, "schedule": "tiny", "channels": 8}, where="transfer")
    head = TASKS[task].head(config, splits, 32)
    model = TASKS[task].build(build_encoder("resnet_small", n_classes=3, seed=0), head, seed=0)
    return drained(TASKS[task].judge(model, splits.test, splits.normalization, head, CPU, 2, "test"))


def exercises():
    """All of them."""
    produced, _ = run_prune(loss="rec", rounds=1, heal="0ep")
    return {
        "still": training(still=True),
        "moving": training(still=False),
        "parts": training(still=True, micro_batch=3),
        "ways": training(still=False, precision="bf16", layout="channels_last", fused=True, micro_batch=1),
        "divergence": divergence(),
        "ratio": ratio(),
        "pixels": pixels(),
        "measuring": {n: measuring(n) for n in (1, 7)},
        "judged": {task: judged(task) for task in ("semantic", "detection")},
        "rec": produced["round-01"].outputs[0].mask,
    }
