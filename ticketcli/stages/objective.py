"""What a round's finetuning minimises: classification, reconstruction, both, or theta_pre's features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.errors import UsageError
from ticketcli.models.decoder import Decoder
from ticketcli.models.encoder import Encoder
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.store.mask import Mask
from ticketcli.training.gradient_ratio import gradient_ratio

_RATIO_BATCHES = 2
_LEAST_POWER = 1e-12


class Objective:
    """Images and labels -> named losses of which "loss" is minimised; the decoder and theta_pre are frozen.

    - ``cls+rec``: L_class + lambda * L_rec, the paper's equation 11; with lambda 0 the decoder is not run at all.
    - ``cls``, ``rec``: one of the two alone; ``rec`` needs no labels.
    - ``feat``: the mean over taps of the squared distance to theta_pre's taps, each relative to their mean square, so
      that deep and shallow taps count alike. No labels and no decoder. Source: this project's; after FitNets (2015).

    With ``target: placebo`` the decoder is asked for another image of the batch, or of the process's part of it: as
    large a gradient with nothing to learn from it, which is the control of what reconstruction adds.

    Args:
        config: names the loss.
        model: the encoder that is trained.
        decoder: frozen, in eval mode; None where there is none.
        t: the share of the hints.
        teacher: theta_pre, frozen, in eval mode; needed for ``feat`` only.

    Raises:
        UsageError: the loss needs a decoder and there is none.
    """

    def __init__(
        self, config: PruneConfig, model: Encoder, decoder: Decoder | None, t: float, teacher: Encoder | None
    ) -> None:
        if config.rebuilds and decoder is None:
            raise UsageError(
                f"loss {config.loss} needs a decoder", where="prune.decoder", hint="name one with decoder:"
            )
        self.config, self.model, self.decoder, self.t, self.teacher = config, model, decoder, t, teacher

    def describe(self) -> str:
        """The loss as a formula."""
        config = self.config
        reconstruction = "L_rec" if config.target == "own" else "L_rec (placebo)"
        if config.loss == "cls+rec" and config.lambda_:
            return f"L_class + {config.lambda_:g} {reconstruction}"
        return {"rec": reconstruction, "feat": "L_feat"}.get(config.loss, "L_class")

    def __call__(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Images [N, 3, H, W] and labels [N] -> scalars: "loss", and its parts "class", "rec" where there are two."""
        config = self.config
        if config.loss == "feat":
            return {"loss": self._features(images)}
        if not config.rebuilds:
            return {"loss": F.cross_entropy(self.model(images), labels)}
        taps, logits = self.model.taps_and_logits(images)
        assert self.decoder is not None
        target = images if config.target == "own" else images.roll(1, dims=0)
        reconstruction = F.mse_loss(self.decoder(taps, t=self.t), target)
        if config.loss == "rec":
            return {"loss": reconstruction}
        classification = F.cross_entropy(logits, labels)
        loss = classification + config.lambda_ * reconstruction
        return {"loss": loss, "class": classification, "rec": reconstruction}

    def _features(self, images: Tensor) -> Tensor:
        assert self.teacher is not None
        with torch.no_grad():
            wanted = self.teacher.taps(images)
        distances = [
            F.mse_loss(tap, wanted[name]) / wanted[name].square().mean().clamp_min(_LEAST_POWER)
            for name, tap in self.model.taps(images).items()
        ]
        return torch.stack(distances).mean()

    def gradient_ratio(
        self,
        weights: Mapping[str, nn.Parameter],
        mask: Mask,
        batches: Iterable[tuple[Tensor, Tensor]],
        *,
        share: float = 1.0,
    ) -> float | None:
        """The gradients of lambda * L_rec over those of L_class, on the first few batches.

        `share` is this process's part of each batch: all processes get what the whole batches give. As all that is
        measured it is in fp32.

        None where the loss has not both, or the classification has no gradient.
        """
        if self.config.loss != "cls+rec" or self.config.lambda_ == 0:
            return None

        def losses(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            parts = self(images, labels)
            return parts["class"], self.config.lambda_ * parts["rec"]

        few = (batch for _, batch in zip(range(_RATIO_BATCHES), batches, strict=False))
        micro_batch = self.config.micro_batch
        ratio = gradient_ratio(self.model, weights, mask, losses, few, share=share, micro_batch=micro_batch)
        return ratio if math.isfinite(ratio) else None
