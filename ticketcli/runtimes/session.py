"""ONNX Runtime: a graph that can be called, and how far what it computes is from what torch does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticketcli.errors import UsageError
from ticketcli.runtimes.onnx_graph import INPUT
from ticketcli.runtimes.outputs import Work
from ticketcli.tensors.seeds import generator

TOLERANCE = 1e-4  # of the largest output: sums of thousands of products in another order, in float32
_BATCHES = (1, 3)  # two sizes, neither the exporter's example
_WIDER = 32  # pixels, a multiple of which detectors pad to
_WARNINGS_OFF = 3
_SEED = 0


class Session:
    """A graph in ONNX Runtime.

    Args:
        content: an ONNX file's bytes.
        threads: of its own; None leaves the choice to it.
        provider: what it computes with.

    Raises:
        UsageError: ONNX Runtime cannot run the graph.
    """

    def __init__(self, content: bytes, threads: int | None = None, provider: str = "CPUExecutionProvider") -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _WARNINGS_OFF
        if threads is not None:
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=[provider])
        except Exception as error:  # its errors share no base but this
            what = f"ONNX Runtime cannot run this graph: {str(error).splitlines()[0][:300]}"
            raise UsageError(what, hint="another version of onnxruntime may know its operators") from error
        self.names = tuple(one.name for one in self._session.get_outputs())

    def __call__(self, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Images float32 [N, 3, H, W] -> the outputs, in order."""
        found: list[Any] = self._session.run(None, {INPUT: images})
        return found


@dataclass(frozen=True)
class Agreement:
    """How far two computations of the same thing are apart.

    Attributes:
        difference: the largest absolute one, over all outputs.
        tolerance: what is allowed, in the same units.
        largest: the largest absolute output.
    """

    difference: float
    tolerance: float
    largest: float

    @property
    def holds(self) -> bool:
        """Whether they are the same but for rounding; NaN is not."""
        return self.difference <= self.tolerance

    def __str__(self) -> str:
        return (
            f"largest difference {self.difference:.2g} of outputs up to {self.largest:.3g} "
            f"(allowed: {self.tolerance:.2g}, which is {TOLERANCE:g} of the largest)"
        )


def agreement(ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> Agreement:
    """Compare outputs in order; other shapes, or another number, are infinitely far apart."""
    if [one.shape for one in ours] != [one.shape for one in theirs]:
        return Agreement(float("inf"), 0.0, 0.0)
    pairs = zip(ours, theirs, strict=True)
    gaps = [float(np.abs(one.astype(np.float64) - other).max(initial=0.0)) for one, other in pairs]
    largest = max(float(np.abs(one).max(initial=0.0)) for one in ours)
    # NaN survives no comparison, so it is looked for
    difference = float("nan") if any(np.isnan(gap) for gap in gaps) else max(gaps)
    return Agreement(difference, TOLERANCE * max(largest, 1e-3), largest)


def compared(work: Work, session: Session) -> Agreement:
    """Run random images through torch and through ONNX Runtime, in batches of several sizes; the worst of them.

    Where images may be of any size, one of the batches has others.
    """
    found = []
    for place, batch in enumerate(_BATCHES):
        images = images_like(work.side, batch, _SEED)
        if work.any_size and place:
            images = torch.cat([images, images[:, :, :, :_WIDER]], dim=3)  # no square any more
        ours = [one.cpu().numpy() for one in work(images.to(_device(work)))]
        found.append(agreement(ours, session(images.numpy())))
    failed = [one for one in found if not one.holds]
    return failed[0] if failed else max(found, key=lambda one: one.difference)


def images_like(side: int, n: int, seed: int) -> Tensor:
    """Random images [n, 3, side, side] in normalised units, to compare runtimes on."""
    return torch.randn(n, 3, side, side, generator=generator(seed, "runtimes"))


def _device(work: Work) -> torch.device:
    parameter: Tensor = next(work.module.parameters())
    return parameter.device
