"""What suites work on: networks of random values at their real sizes, batches, masks, photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ticketcli.bench.job import BenchJob
from ticketcli.models.architectures import build_encoder, prunable
from ticketcli.models.encoder import Encoder
from ticketcli.models.table import architecture
from ticketcli.store.mask import Mask
from ticketcli.tensors.seeds import derive, generator, integers
from ticketcli.tensors.select import drop_smallest

_SMALL = "resnet_small"
_CLASSES = 1000
_WIDTH, _HEIGHT = 500, 375  # pixels, the usual photograph of ImageNet
_QUALITY = 90
_ENDINGS = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Subject:
    """A network, its name, its prunable weights, and the side of its images in pixels."""

    arch: str
    model: Encoder
    weights: dict[str, torch.nn.Parameter]
    side: int

    def values(self) -> dict[str, Tensor]:
        """The prunable weights as plain tensors."""
        return {name: weight.detach() for name, weight in self.weights.items()}


def network(job: BenchJob, arch: str = "resnet50") -> Subject:
    """An architecture with random values; at a reduced scale the small one stands for it."""
    arch = arch if job.full else _SMALL
    model = build_encoder(arch, n_classes=_CLASSES if job.full else 10, seed=0).to(job.device)
    return Subject(arch, model, prunable(model), architecture(arch).image_size)


def millions(values: Mapping[str, Tensor]) -> str:
    """How many numbers, in words: 23.4M."""
    return f"{sum(value.numel() for value in values.values()) / 1e6:.3g}M"


def batch_of(job: BenchJob, n: int, side: int, n_classes: int) -> tuple[Tensor, Tensor]:
    """Random images float32 [n, 3, side, side], mean 0 and deviation 1, and labels int64 [n]."""
    draw = generator(0, "bench/batch")
    images, labels = torch.randn(n, 3, side, side, generator=draw), torch.randint(n_classes, (n,), generator=draw)
    return images.to(job.device), labels.to(job.device)


def everything(values: Mapping[str, Tensor]) -> Mask:
    """The mask under which all live."""
    return Mask.full({name: tuple(value.shape) for name, value in values.items()})


def sparse(values: Mapping[str, Tensor], sparsity: float = 0.8) -> Mask:
    """What global magnitude leaves of them."""
    return drop_smallest(values, everything(values), fraction=sparsity)


def photographs(job: BenchJob, n: int) -> list[Path]:
    """JPEG files of photographs: those below the data folder, or, without one, cuts of scikit-learn's two."""
    if job.data_dir is not None:
        found = sorted(path for path in job.data_dir.rglob("*") if path.suffix.lower() in _ENDINGS)[:n]
        if found:
            return found
    from sklearn.datasets import load_sample_images

    originals = [Image.fromarray(image) for image in load_sample_images().images]  # 640 x 427
    places = np.arange(n, dtype=np.uint64)
    lefts = integers(derive(0, "bench/left"), places, originals[0].width - _WIDTH + 1)
    tops = integers(derive(0, "bench/top"), places, originals[0].height - _HEIGHT + 1)
    folder = job.folder / "photographs"
    folder.mkdir()
    made = []
    for place, (left, top) in enumerate(zip(lefts.tolist(), tops.tolist(), strict=True)):
        cut = originals[place % len(originals)].crop((left, top, left + _WIDTH, top + _HEIGHT))
        made.append(folder / f"{place:05d}.jpg")
        cut.save(made[-1], quality=_QUALITY)
    return made
