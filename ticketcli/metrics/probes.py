"""Linear probes: how well classes can be told from pooled features by a logistic regression, and by nothing more."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticketcli.errors import UsageError
from ticketcli.events import Pause
from ticketcli.tensors import ranks
from ticketcli.tensors.modes import evaluating
from ticketcli.tensors.turns import Batches, in_turns

_STRENGTH = 1.0  # scikit-learn's own C, the same for every tap and network: tuned on nothing
_MOST_STEPS = 2000


@dataclass(frozen=True)
class Probe:
    """A fitted classifier of features.

    Attributes:
        model: standardises by the training images' mean and deviation, then classifies.
        converged: whether its fit did.
    """

    model: Any
    converged: bool

    def right(self, features: Tensor, labels: Tensor) -> int:
        """How many of [N, C] features it gives their labels [N]."""
        return int(np.sum(self.model.predict(features.cpu().numpy()) == labels.cpu().numpy()))


def fitted(features: NDArray[np.float64], labels: NDArray[np.int64]) -> Probe:
    """A multinomial logistic regression with an L2 penalty, on standardised features.

    Args:
        features: [N, C].
        labels: [N], of two classes or more.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH, max_iter=_MOST_STEPS))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(features, labels)
    return Probe(model, not any(issubclass(one.category, ConvergenceWarning) for one in said))


@torch.no_grad()
def probes_of(
    encoders: Sequence[Any], batches: Batches[tuple[Tensor, Tensor]]
) -> Generator[Pause, None, list[Mapping[str, Probe]]]:
    """A probe for each tap of each encoder, in eval mode; all learn from the same images.

    Yields pauses between the batches, which several processes take in turns, and between the fits, which the first
    makes for all.

    Args:
        encoders: `taps` gives name -> [N, C, h, w].
        batches: training images [N, 3, H, W] in normalised units, unaugmented, and labels [N].

    Raises:
        UsageError: all images are of one class.
    """

    def measure(batch: tuple[Tensor, Tensor]) -> tuple[list[dict[str, NDArray[np.float64]]], NDArray[np.int64]]:
        images, labels = batch
        found = []
        for encoder in encoders:
            taps = encoder.taps(images)
            found.append({tap: map_.mean(dim=(2, 3), dtype=torch.float64).cpu().numpy() for tap, map_ in taps.items()})
        return found, labels.cpu().numpy()

    with evaluating(*encoders):
        parts = yield from in_turns(batches, measure, "features for probes")
    labels = np.concatenate([part[1] for part in parts])
    if len(np.unique(labels)) < 2:
        raise UsageError("the probe's images are all of one class", where="evaluate.probe_images", hint="take more")
    jobs = [(place, tap) for place in range(len(encoders)) for tap in parts[0][0][place]]
    probes: list[dict[str, Probe]] = [{} for _ in encoders]
    for done, (place, tap) in enumerate(jobs, 1):
        probe = None
        if ranks.rank() == 0:
            probe = fitted(np.concatenate([part[0][place][tap] for part in parts]), labels)
        probe = ranks.told(probe)
        assert probe is not None
        probes[place][tap] = probe
        yield Pause("fitting probes", done, len(jobs))
    return list(probes)
