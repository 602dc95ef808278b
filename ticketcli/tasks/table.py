"""The table of tasks."""

from __future__ import annotations

from collections.abc import Mapping

from ticketcli.recipe.transfer_config import TaskName
from ticketcli.tasks.classification import Classification
from ticketcli.tasks.detection import Detection
from ticketcli.tasks.semantic import Semantic
from ticketcli.tasks.task import Task

TASKS: Mapping[TaskName, Task] = {
    "classification": Classification(),
    "semantic": Semantic(),
    "detection": Detection(masks=False),
    "segmentation": Detection(masks=True),
}
