"""`Subject`: a network that leaves the run: its values, its mask, and what is known of how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ticketcli.errors import MismatchError, UsageError
from ticketcli.execution.exchange import load_input
from ticketcli.report.lineage import Maker
from ticketcli.stages.networks import is_classifier, network_from, require_values
from ticketcli.store.manifest import Artifact, Manifest
from ticketcli.training.yields import Loaded

NETWORKS = ("ticket", "task", "dense", "kept", "compact")


@dataclass(frozen=True)
class Subject:
    """What is exported.

    Attributes:
        ref: as the user named it.
        artifact: the output, its file paths absolute.
        makers: the steps that it comes from, the last first; none for a file that nothing is known of.
        evaluations: manifests of the evaluations of exactly this.
    """

    ref: str
    artifact: Artifact
    makers: tuple[Maker, ...] = ()
    evaluations: tuple[Manifest, ...] = ()

    def load(self) -> Loaded:
        """Read it, every file verified.

        Raises:
            MismatchError: it is no network.
            InputMissing: a mask without values.
        """
        if self.artifact.kind not in NETWORKS:
            what = f"this {self.artifact.kind} is no network that can be exported"
            raise MismatchError(what, where=self.ref, hint="name a ticket, a transferred network or a dense one")
        found = load_input(self.ref, self.artifact)
        require_values(found)
        return found

    def load_ticket(self) -> Loaded:
        """Read it; it has to have a mask.

        Raises:
            MismatchError: nothing of it is masked.
        """
        found = self.load()
        if found.mask is None:
            what = f"nothing of this {self.artifact.kind} is masked, so there is nothing to pack"
            raise MismatchError(what, where=self.ref, hint="name a ticket; of a dense network its checkpoint will do")
        return found

    @property
    def digests(self) -> dict[str, str]:
        """The content digests of its files by role."""
        return {role: record.content for role, record in self.artifact.files.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of its files by role."""
        return {role: record.size for role, record in self.artifact.files.items()}


def network_to_export(source: Loaded) -> nn.Module:
    """The network on the CPU, in eval mode, its masked weights +0.0."""
    return network_from(source, torch.device("cpu"))


def require_classifier(about: Mapping[str, Any], *, what: str, where: str, hint: str) -> None:
    """Refuse networks of pixel-level tasks.

    Raises:
        UsageError: it is one.
    """
    if not is_classifier(about):
        raise UsageError(f"{what}: this network is for task: {about['task']}", where=where, hint=hint)
