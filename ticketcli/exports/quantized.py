"""Static quantisation to int8 by ONNX Runtime, calibrated on training images, and what it costs in accuracy."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticketcli.data.batches import in_order
from ticketcli.data.images import Images, Splits
from ticketcli.data.sources import Sources
from ticketcli.errors import CorruptError, UsageError
from ticketcli.runtimes.onnx_graph import INPUT, describe
from ticketcli.runtimes.session import Session
from ticketcli.stages.job import knows
from ticketcli.store.mask import Mask
from ticketcli.training.recalibrate import calibration_batches
from ticketcli.training.yields import Loaded

_QUANTIZED = "_quantized"  # what ONNX Runtime appends to the name of a weight
_BATCH = 32


@dataclass(frozen=True)
class Calibration:
    """How to quantise.

    Attributes:
        images: training images that ranges of activations are taken from, unaugmented, spread evenly over the set.
        tested: at most so many images that accuracy is measured on, spread alike.
        data: name of the set; "" is the checkpoint's own.
        sources: where sets lie.
        device: that images are normalised on.
    """

    images: int = 256
    tested: int = 2000
    data: str = ""
    sources: Sources = field(default_factory=Sources)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


class _Reader:
    """Batches as ONNX Runtime asks for them."""

    def __init__(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch by the input's name, or None."""
        found = next(self._batches, None)
        return None if found is None else {INPUT: found[0].cpu().numpy()}


def quantized(
    content: bytes,
    splits: Splits,
    order: Calibration,
    mask: Mask | None,
    prefix: str,
    said: Mapping[str, str],
    *,
    where: str,
) -> bytes:
    """The int8 file of a float32 one: weights by channel and symmetric, so that zeros stay zeros; activations by range.

    Raises:
        UsageError: ONNX Runtime cannot quantise this graph.
        CorruptError: a masked weight is not zero in it.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    CalibrationDataReader.register(_Reader)
    batches = iter(calibration_batches(splits, order.images, order.device))
    with tempfile.TemporaryDirectory(prefix="ticket-int8-") as folder, _without_advice():
        made = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                onnx.load_model_from_string(content), str(made), _Reader(batches), quant_format=QuantFormat.QDQ,
                per_channel=True, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise UsageError(f"cannot be quantised: {reason}", where=where, hint="leave --int8 out") from error
        graph = onnx.load(str(made))
    if mask is not None:
        _require_zeros(graph, mask, prefix, where)
    describe(graph, {**said, "precision": "int8", "calibrated_on": str(order.images)})
    found: bytes = graph.SerializeToString()
    return found


@contextmanager
def _without_advice() -> Iterator[None]:
    """ONNX Runtime logs advice on preparing the graph, which has been followed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _require_zeros(graph: Any, mask: Mask, prefix: str, where: str) -> None:
    """See that masked weights are zero among the int8 ones too, where they go by their names."""
    import onnx

    weights = {one.name: one for one in graph.graph.initializer}
    for name, alive in mask.items():
        found = weights.get(prefix + name + _QUANTIZED)
        if found is not None and onnx.numpy_helper.to_array(found).reshape(alive.shape)[~alive].any():
            raise CorruptError(f"masked weights of '{name}' are not zero in int8", where=where)


def measured(source: Loaded, float32: Session, int8: Session, splits: Splits, order: Calibration) -> dict[str, Any]:
    """What int8 is worth beside float32, both in ONNX Runtime, on the same images.

    Returns:
        For a classifier whose classes the images have: top1, float32_top1, agree, n, split. Else `relative`: the norm
        of the outputs' difference over the norm of float32's, all outputs together, and n.
    """
    parts = {"test": splits.test, "validation": splits.validation, "training": splits.train}
    name, images = next((name, part) for name, part in parts.items() if len(part.labels))
    images = _spread(images, order.tested)
    classes = float32.names == ("logits",) and knows(images, source.about)
    right, right32, alike, n, gap, size = 0, 0, 0, 0, 0.0, 0.0
    for batch, labels in in_order(images, splits.normalization, _BATCH, order.device):
        pixels = batch.cpu().numpy()
        one, other = int8(pixels), float32(pixels)
        n += len(labels)
        gap += sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in zip(one, other, strict=True))
        size += sum(float(np.square(b.astype(np.float64)).sum()) for b in other)
        if classes:
            found, wanted, truth = one[0].argmax(axis=1), other[0].argmax(axis=1), labels.cpu().numpy()
            right, right32 = right + int((found == truth).sum()), right32 + int((wanted == truth).sum())
            alike += int((found == wanted).sum())
    relative = float(np.sqrt(gap / size)) if size else 0.0
    if not classes:
        return {"relative": relative, "n": n}
    return {
        "top1": right / n, "float32_top1": right32 / n, "agree": alike / n, "n": n, "split": name, "relative": relative,
    }  # fmt: skip


def _spread(images: Images, most: int) -> Images:
    total = len(images.labels)
    chosen = np.unique(np.linspace(0, total - 1, min(most, total)).round().astype(np.int64))
    return images.take(torch.from_numpy(chosen))
