"""A loss, compiled by torch: the same for all batches of one training, then forgotten."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ticketcli.errors import UsageError


class _Compiled(nn.Module):
    """A compiled module; what the compiler cannot do here is told as an error of the settings."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        # Shapes as they come, never generalised on the second: what runs must not depend on which came before.
        self.run = torch.compile(module.forward, dynamic=False)
        self.began = False

    def forward(self, *batch: Any) -> Any:
        if self.began:
            return self.run(*batch)
        try:
            found = self.run(*batch)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            hint = "compile: false, or install a C++ compiler (for GPUs, triton too)"
            raise UsageError(f"cannot compile: {reason}", where="compile", hint=hint) from error
        self.began = True
        return found


def compiled(module: nn.Module) -> nn.Module:
    """A module that computes what `module` does; the first call compiles, and its first gradient does so again.

    What was compiled before is forgotten: else each training would count towards torch's limit of versions, beyond
    which it silently stops to compile.
    """
    torch.compiler.reset()
    return _Compiled(module)
