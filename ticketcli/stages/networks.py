"""The networks of checkpoints, whatever they are for: classifiers, and networks of pixel-level tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from ticketcli.errors import CorruptError, InputMissing, TicketError
from ticketcli.models.architectures import masked_parameters
from ticketcli.models.encoder import Encoder
from ticketcli.recipe.evaluate_config import EvaluateConfig
from ticketcli.stages.job import Job, build_of, encoder_from
from ticketcli.tasks.table import TASKS
from ticketcli.tasks.task import Head
from ticketcli.tensors.files import load_into
from ticketcli.tensors.masking import MaskedWeights
from ticketcli.training.yields import Loaded

_BODY = "backbone.body"


def is_classifier(about: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is of a network that tells classes of whole images apart."""
    return bool(about.get("task", "classification") == "classification")


def require_values(source: Loaded, *, hint: str = "make a ticket of it with 'ticket rewind'") -> None:
    """Refuse what makes no network.

    Raises:
        InputMissing: it is a bare mask file.
    """
    if not source.values:
        raise InputMissing("a mask file alone has no values", where=source.ref, hint=hint)


def network_from(source: Loaded, device: torch.device) -> nn.Module:
    """The network of a checkpoint of any task, its masked weights exactly +0.0, in eval mode."""
    if is_classifier(source.about):
        return classifier_from(source, device)
    return network_of(source, Head.of(source.about), device).eval()


def classifier_from(source: Loaded, device: torch.device) -> Encoder:
    """The network of a classifier's checkpoint, its masked weights exactly +0.0, in eval mode."""
    model = encoder_from(source, device)
    _enforce(source, model)
    return model.eval()


def network_of(source: Loaded, head: Head, device: torch.device) -> nn.Module:
    """The network of a pixel-level task's checkpoint, its masked weights exactly +0.0."""
    encoder = build_of(source.about, n_classes=1, seed=0)
    model = TASKS[source.about["task"]].build(encoder, head, seed=0)
    load_into(model, source.values, where=source.ref)
    model.to(device)
    _enforce(source, model)
    return model


def _enforce(source: Loaded, model: nn.Module) -> None:
    if source.mask is not None:
        MaskedWeights(masked_parameters(model, source.mask), source.mask).apply()


def has_borrowed_statistics(source: Loaded) -> bool:
    """Whether BatchNorm's statistics are from before the mask: of a ticket neither healed nor re-estimated."""
    is_bare = source.kind == "ticket" and not source.about.get("healed") and not source.about.get("recalibrated")
    return is_bare and any(name.endswith("running_mean") for name in source.values)


def dense_encoder(job: Job[EvaluateConfig]) -> Encoder:
    """The encoder of what is compared with: a dense network, or that of a task's network; in eval mode."""
    return body_of(network_from(job.inputs["dense"], job.device))


def body_of(network: nn.Module) -> Encoder:
    """The encoder of a network: itself, or the one inside a network of a pixel-level task."""
    return network if isinstance(network, Encoder) else cast(Encoder, network.get_submodule(_BODY))


def require_known(source: Loaded) -> nn.Module:
    """The network that a file from elsewhere describes, as a check that it describes one.

    Raises:
        CorruptError: what it says of itself makes no network, or not one of its values.
    """
    try:
        return network_from(source, torch.device("cpu"))
    except TicketError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        what = f"what the file says of its network is not usable: {error!r}"
        raise CorruptError(what, where=source.ref) from None
