"""`ticket import` of what `ticket export` has packed: the exact tensors, the mask, and what they were about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ticketcli.errors import CorruptError, UsageError, did_you_mean
from ticketcli.events import Note
from ticketcli.models.cost import parameters
from ticketcli.recipe.configs import ImportConfig
from ticketcli.stages.job import Job
from ticketcli.stages.networks import require_known
from ticketcli.store.mask import Mask
from ticketcli.tensors.digest import digest_of
from ticketcli.training.yields import Loaded, Output, Produced, Yield


def import_packed(job: Job[ImportConfig]) -> Iterator[Yield]:
    """Write a packed ticket, or one network of a bundle, as the checkpoint and the mask that it was made of.

    Masked weights are +0.0; surviving ones are the exact values, or their bfloat16 where they were stored so.

    Raises:
        UsageError: a bundle's network is not named, or not there.
        CorruptError: the tensors are not those that were packed, or make no network.
    """
    packed = job.inputs["source"]
    kind, about, values, mask, digest = _chosen(packed, job.config.head)
    if digest_of(values) != digest:
        what = "the tensors that come back are not those that were packed"
        raise CorruptError(what, where=packed.ref, hint="the file is damaged, or was made elsewhere")
    stored = str(packed.about["values"])
    model = require_known(replace(packed, about=about, values=values, mask=mask))
    n = parameters(model)
    sparsity = 0.0 if mask is None else mask.sparsity
    yield Note(f"{packed.ref}: all {len(values)} tensors are back, {n:,} weights, {sparsity:.2%} sparse, from {stored}")
    unpacked = {"source": packed.ref, "stored": stored, "digests": packed.about.get("digests", {})}
    metrics: dict[str, Any] = {"tensors": len(values), "parameters": n, "sparsity": sparsity}
    if mask is not None:
        metrics["network_sparsity"] = mask.dropped / n
    output = Output("ticket", kind, "ticket", {**about, "unpacked": unpacked}, values, mask)
    yield Produced("ticket", (output,), metrics)


def _chosen(packed: Loaded, head: str) -> tuple[str, dict[str, Any], dict[str, Tensor], Mask | None, str]:
    """Kind, `about`, tensors, mask and digest of the network that is wanted."""
    try:
        if not packed.heads:
            return _lone(packed, head)
        return _of_bundle(packed, head)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"what the packed ticket says of itself is not usable: {error!r}"
        raise CorruptError(what, where=packed.ref) from None


def _lone(packed: Loaded, head: str) -> tuple[str, dict[str, Any], dict[str, Tensor], Mask | None, str]:
    if head:
        raise UsageError("this is one ticket and no bundle", where="import.head", hint="leave head out")
    if packed.mask is None:
        raise ValueError("no mask")
    about = packed.about
    return _kind(about["of"]), dict(about["checkpoint"]), dict(packed.values), packed.mask, str(about["unpacked"])


def _of_bundle(packed: Loaded, head: str) -> tuple[str, dict[str, Any], dict[str, Tensor], Mask | None, str]:
    if head not in packed.heads:
        what = f"this bundle has no network '{head}'" if head else "this bundle has several networks"
        hint = did_you_mean(head, packed.heads) if head else "name one with --head: " + ", ".join(packed.heads)
        raise UsageError(what, where="import.head", hint=hint)
    one: Mapping[str, Any] = packed.about["heads"][head]
    prefix = str(one["prefix"])
    values = {prefix + name: value for name, value in packed.values.items()} | dict(packed.heads[head])
    mask = None if packed.mask is None else Mask({prefix + name: bits for name, bits in packed.mask.items()})
    return _kind(one["of"]), dict(one["checkpoint"]), values, mask, str(one["unpacked"])


def _kind(said: Any) -> str:
    if said not in ("ticket", "task"):
        raise ValueError(f"of {str(said)[:40]!r}")
    return str(said)
