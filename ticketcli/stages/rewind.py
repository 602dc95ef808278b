"""`ticket rewind`: a mask and the values of any checkpoint of the same shapes become a ticket of its own."""

from __future__ import annotations

from collections.abc import Iterator

from ticketcli.models.architectures import masked_parameters
from ticketcli.recipe.configs import RewindConfig
from ticketcli.stages.job import Job, data_of, encoder_from, require_same_widths, splits_of
from ticketcli.stages.networks import require_values
from ticketcli.tensors.files import copy_of
from ticketcli.tensors.masking import MaskedWeights
from ticketcli.training.recalibrate import calibration_batches, recalibrate
from ticketcli.training.yields import Output, Produced, Yield


def rewind(job: Job[RewindConfig]) -> Iterator[Yield]:
    """Chosen values where the mask lives, +0.0 elsewhere; BatchNorm and head are the checkpoint's too.

    This is the one stage that joins a mask with values of another digest than its own; the output records whose.

    Raises:
        InputMissing: a bare mask file was given and no values.
    """
    ticket = job.inputs["ticket"]
    source = job.inputs.get("to", ticket)
    require_values(source, hint="name a checkpoint with --to")
    require_same_widths(ticket, source, where="rewind.to")
    assert ticket.mask is not None
    model = encoder_from(source, job.device)
    masked = MaskedWeights(masked_parameters(model, ticket.mask), ticket.mask)
    masked.apply()
    if job.config.recalibrate_bn:
        splits = splits_of(job, data_of(None, source.about), int(source.about["image_size"]), encoder=source.about)
        yield from recalibrate(model, calibration_batches(splits, job.config.recalibrate_bn, job.device))
    masked.require_masked()
    about = {**source.about, "values_of": source.identity, "recalibrated": job.config.recalibrate_bn}
    metrics = {"sparsity": ticket.mask.sparsity, "kept": ticket.mask.kept, "prunable": ticket.mask.total}
    yield Produced("ticket", (Output("ticket", "ticket", "ticket", about, copy_of(model), ticket.mask),), metrics)
