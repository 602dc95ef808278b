"""Sheets of what a decoder rebuilds of test images from the features of one network, or of two."""

from __future__ import annotations

import io
from collections.abc import Mapping

import torch
from torch import Tensor

from ticketcli.data.batches import in_order
from ticketcli.data.images import Images, Normalization
from ticketcli.metrics.quality import Rebuild
from ticketcli.models.encoder import Encoder
from ticketcli.overlays.rebuilt import SCALE, rebuilt_row
from ticketcli.overlays.sheet import cell_side, sheet
from ticketcli.tensors.modes import evaluating

_BATCH = 32
_ROWS = 8  # of images on a sheet


def rebuilt_sheets(
    networks: Mapping[str, Encoder], rebuild: Rebuild, images: Images, normalization: Normalization, n: int
) -> dict[str, bytes]:
    """File name -> PNG: `n` images, spread evenly over the part, so that no class makes them all.

    Args:
        networks: reference -> network, in the order of the columns.
        rebuild: the decoder, with its share of the hints.
        images: the part to take them from.
        normalization: of the checkpoints.
        n: how many; all, where there are fewer.
    """
    total = len(images.labels)
    chosen = [k * total // min(n, total) for k in range(min(n, total))]
    some = images.take(torch.tensor(chosen))
    device = next(next(iter(networks.values())).parameters()).device
    wanted: list[Tensor] = []
    rebuilt: dict[str, list[Tensor]] = {name: [] for name in networks}
    with torch.no_grad(), evaluating(rebuild.decoder, *networks.values()):
        for batch, _ in in_order(some, normalization, _BATCH, device):
            wanted += list(rebuild.denormalize(batch).clamp(0, 1).cpu())
            for name, network in networks.items():
                made = rebuild.decoder(network.taps(batch), t=rebuild.t)
                rebuilt[name] += list(rebuild.denormalize(made).clamp(0, 1).cpu())
    side = cell_side(1 + 2 * len(networks))
    rows = [
        rebuilt_row(f"image {number}", image, [rebuilt[name][place] for name in networks], side)
        for place, (number, image) in enumerate(zip(chosen, wanted, strict=True))
    ]
    titles = ["image", *(word for name in networks for word in (name, "its error"))]
    files = {}
    for number, start in enumerate(range(0, len(rows), _ROWS), 1):
        png = io.BytesIO()
        sheet(rows[start : start + _ROWS], titles, heading=f"Rebuilt with t = {rebuild.t:g}; {SCALE}").save(
            png, "PNG", optimize=True
        )
        files[f"rebuilt-{number}.png"] = png.getvalue()
    return files
