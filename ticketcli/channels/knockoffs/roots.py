"""Square roots of covariances."""

from __future__ import annotations

import torch
from torch import Tensor

from ticketcli.errors import UsageError

_SLACK = 1e-9  # how negative an eigenvalue may be, beside the largest one: rounding


def symmetric_root(matrix: Tensor, *, what: str) -> Tensor:
    """R with R R = the matrix, [q, q], which is positive semi-definite but for rounding.

    Raises:
        UsageError: it is not, so `what` does not exist.
    """
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    if len(values) and float(values[0]) < -_SLACK * max(1.0, float(values[-1])):
        raise UsageError(
            f"{what} would need a negative variance", where="knockoff", hint="raise s', or the noise (S.5)"
        )
    root: Tensor = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return root
