"""The networks of checkpoints, whatever they are for: classifiers, and networks of pixel-level tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from ticketcli.errors import CorruptError, TicketError
from ticketcli.models.architectures import masked_parameters
from ticketcli.models.encoder import Encoder
from ticketcli.stages.job import build_of, encoder_from
from ticketcli.tasks.table import TASKS
from ticketcli.tasks.task import Head
from ticketcli.tensors.files import load_into
from ticketcli.tensors.masking import MaskedWeights
from ticketcli.training.yields import Loaded

_BODY = "backbone.body"


def is_classifier(about: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is of a network that tells classes of whole images apart."""
    return bool(about.get("task", "classification") == "classification")


def network_from(source: Loaded, device: torch.device) -> nn.Module:
    """The network of a checkpoint of any task, its masked weights exactly +0.0, in eval mode."""
    if not is_classifier(source.about):
        return network_of(source, Head.of(source.about), device).eval()
    model = encoder_from(source, device)
    if source.mask is not None:
        MaskedWeights(masked_parameters(model, source.mask), source.mask).apply()
    return model.eval()


def network_of(source: Loaded, head: Head, device: torch.device) -> nn.Module:
    """The network of a pixel-level task's checkpoint, its masked weights exactly +0.0."""
    encoder = build_of(source.about, n_classes=1, seed=0)
    model = TASKS[source.about["task"]].build(encoder, head, seed=0)
    load_into(model, source.values, where=source.ref)
    model.to(device)
    if source.mask is not None:
        MaskedWeights(masked_parameters(model, source.mask), source.mask).apply()
    return model


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
