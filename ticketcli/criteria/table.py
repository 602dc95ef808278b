"""The table of criteria. Of the weights alone: a file and a line each; by layer: the methods of `layerwise`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ticketcli.criteria.by_layer import ByLayer
from ticketcli.criteria.magnitude import magnitude
from ticketcli.criteria.random import random
from ticketcli.criteria.selection import Request
from ticketcli.recipe.criterion_config import CALIBRATED
from ticketcli.store.mask import Mask

CRITERIA: Mapping[str, Callable[[Request], Mask] | ByLayer] = {
    "magnitude": magnitude,
    "random": random,
    **{method: ByLayer(method) for method in CALIBRATED},
}
