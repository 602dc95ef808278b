"""The table of criteria: one line each. Of the weights alone: one file each; by layer: the methods of `layerwise`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ticketcli.criteria.by_layer import ByLayer
from ticketcli.criteria.magnitude import magnitude
from ticketcli.criteria.random import random
from ticketcli.criteria.selection import Request
from ticketcli.store.mask import Mask

CRITERIA: Mapping[str, Callable[[Request], Mask] | ByLayer] = {
    "magnitude": magnitude,
    "random": random,
    "lobs": ByLayer("lobs", adjusts=True),
    "lobs_refit": ByLayer("lobs_refit", adjusts=True),
    "obc": ByLayer("obc", adjusts=True),
    "sparsegpt": ByLayer("sparsegpt", adjusts=True),
    "wanda": ByLayer("wanda"),
    "obd": ByLayer("obd"),
    "apoz": ByLayer("apoz"),
}
