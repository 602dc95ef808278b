"""Randomness by counting: every draw is a pure function of (seed, purpose, numbers), on every machine and version.

Nothing here reads or moves a global generator, so no state of randomness has to be saved, and a resumed run draws
what an uninterrupted one draws.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

from ticketcli.canon import canonical

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
Counters = NDArray[np.uint64]


def derive(seed: int, purpose: str, *numbers: int) -> int:
    """A 64-bit key for one purpose. Seed 0 is a seed like any other."""
    text = canonical([seed, purpose, list(numbers)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def uniform_bits(key: int, counters: Counters) -> Counters:
    """64 random bits for each counter. Source: splitmix64's finaliser (Steele et al., 2014), twice."""
    with np.errstate(over="ignore"):
        x = np.asarray(counters, dtype=np.uint64) * _GOLDEN + np.uint64(key % 2**64)
        for _ in range(2):
            x = x + _GOLDEN
            x = (x ^ (x >> np.uint64(30))) * _MIX1
            x = (x ^ (x >> np.uint64(27))) * _MIX2
            x = x ^ (x >> np.uint64(31))
    return x


def integers(key: int, counters: Counters, n: int) -> NDArray[np.int64]:
    """An integer in [0, n) for each counter; n below 2**31, bias below n / 2**32."""
    return ((uniform_bits(key, counters) >> np.uint64(32)) * np.uint64(n) >> np.uint64(32)).astype(np.int64)


def uniforms(key: int, counters: Counters) -> NDArray[np.float64]:
    """A float in [0, 1) for each counter, of 53 random bits."""
    return (uniform_bits(key, counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(key: int, n: int) -> NDArray[np.int64]:
    """A random order of 0 .. n-1."""
    return np.argsort(uniform_bits(key, np.arange(n, dtype=np.uint64)), kind="stable")


def generator(seed: int, purpose: str, *numbers: int) -> torch.Generator:
    """A CPU generator for drawing initial values."""
    return torch.Generator().manual_seed(derive(seed, purpose, *numbers) % 2**63)
