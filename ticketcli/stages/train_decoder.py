"""`ticket train-decoder`: stage i of the paper, an inverse of the frozen encoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from ticketcli.data.batches import in_order
from ticketcli.events import Note
from ticketcli.metrics.quality import Rebuild, quality
from ticketcli.models.cost import cost_of, in_words, macs, parameters, tap_outlines
from ticketcli.models.decoder import build_decoder
from ticketcli.models.folding import folded
from ticketcli.recipe.configs import TrainDecoderConfig
from ticketcli.stages.job import (
    Job,
    check_seedable,
    data_of,
    encoder_from,
    freeze,
    knows,
    splits_of,
)
from ticketcli.tensors.files import copy_of
from ticketcli.training.feeds import training_batches
from ticketcli.training.loop import Run, train
from ticketcli.training.yields import Output, Produced, Yield


def train_decoder(job: Job[TrainDecoderConfig]) -> Iterator[Yield]:
    """Train the decoder on the squared error of the rebuilt image; the encoder is frozen, in eval mode, without grad.

    L_rec is the mean over N, C, H, W in the encoder's normalised units.

    Source: the paper, sections 4.1 (equation 9) and 4.2 (equation 10); the mean is this project's reading.
    """
    config, device = job.config, job.device
    source = job.inputs["encoder"]
    data = data_of(config.data, source.about)
    size = int(source.about["image_size"])
    splits = splits_of(job, data, size, encoder=source.about)
    check_seedable(splits, what="train-decoder.data", batch=config.batch)
    encoder = freeze(encoder_from(source, device))
    decoder = build_decoder(encoder, image_size=size, hints=config.hints, width=config.width, seed=config.seed).to(
        device
    )
    cost = {"parameters": parameters(decoder), "macs": macs(decoder, tap_outlines(encoder, size), t=config.t)}
    yield Note(f"decoder: {in_words(cost)}; encoder: {in_words(cost_of(encoder, size))}")

    fast = folded(encoder)

    def loss(images: Tensor, _labels: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            taps = fast.taps(images)
        return {"loss": F.mse_loss(decoder(taps, t=config.t), images)}

    batches = training_batches(config, splits.train, splits, data, device, "decoder")
    run = Run("train-decoder", decoder, loss, batches, config, config.epochs, {})
    yield from train(run, resume=job.resume)
    freeze(decoder)
    rebuild = Rebuild(decoder, splits.normalization.denormalize, config.t)
    images = in_order(splits.validation, splits.normalization, 256, device)
    found = yield from quality(encoder, images, rebuild, labelled=knows(splits.validation, source.about))
    about = {
        "hints": list(config.hints),
        "t": config.t,
        "width": config.width,
        "image_size": size,
        "arch": source.about["arch"],
        "data": data.model_dump(mode="json", exclude_defaults=True),
    }
    metrics = {"validation": found, **cost, "images": splits.counts()}
    yield Produced("decoder", (Output("decoder", "decoder", "decoder", about, copy_of(decoder)),), metrics)
