"""How far a pruned network's output is from what it was, on the calibration images, and how far it can be at most."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch

from ticketcli.criteria.layerwise.bound import error_bound
from ticketcli.errors import TicketError
from ticketcli.events import Pause
from ticketcli.stages.solving import Solving
from ticketcli.tensors.modes import evaluating


def output_errors(solving: Solving) -> Generator[Pause, None, dict[str, Any]]:
    """Of the model as it is now, with the weights that the criterion has found.

    Returns:
        In units of the output, root mean squares over images: `output` is the size of what the network gave before,
        `measured` of the difference, and the bounds on that by spectral and by Frobenius norms, which need a network
        whose layers follow each other in a way that is understood; else `unbounded` says why not.
    """
    measured = yield from output_difference(solving, "the output error")
    size = sum(float(one.double().square().sum()) for one in solving.outputs) / solving.n_images
    found: dict[str, Any] = {"images": solving.n_images, "output": size**0.5, "measured": measured}
    reports = {name.removesuffix(".weight"): one.report for name, one in solving.pruned.items()}
    images, _ = next(iter(solving.batches[:1]))
    try:
        with evaluating(solving.model):
            spectral = error_bound(solving.model, reports, images[:1], norm="spectral")
            frobenius = error_bound(solving.model, reports, images[:1], norm="frobenius")
    except TicketError as error:
        return {**found, "unbounded": error.what}
    solving.bounds = spectral
    return {**found, "bound": spectral["output"], "bound_frobenius": frobenius["output"]}


@torch.no_grad()
def output_difference(solving: Solving, what: str) -> Generator[Pause, None, float]:
    """The root of the mean over images of ``||now - before||^2``, of the model as it is now."""
    total = 0.0
    for done, ((images, _), before) in enumerate(zip(solving.batches, solving.outputs, strict=True), 1):
        with evaluating(solving.model):
            now = solving.model(images)
        total += float((now.double() - before.to(now.device).double()).square().sum())
        yield Pause(f"measuring {what}", done, len(solving.batches))
    return float((total / solving.n_images) ** 0.5)
