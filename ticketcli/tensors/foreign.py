"""Reading other people's weights: the one place that opens a pickle, and only as tensors and plain containers."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ticketcli.errors import CorruptError, InputMissing
from ticketcli.store.tensorfile import read_header

# where training scripts keep the weights inside what they save; an averaged copy is not taken unasked
_CONTAINERS = ("state_dict", "model", "model_state_dict", "net", "weights", "network")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a `.safetensors` file, or in a `.pth` and the like by the weights-only unpickler, on the CPU.

    A state dict inside a training checkpoint is found under its usual names.

    Raises:
        InputMissing: no such file.
        CorruptError: damaged, or with Python objects in it, or without a state dict.
    """
    if not path.is_file():
        raise InputMissing("no such file", where=str(path))
    if path.suffix == ".safetensors":
        read_header(path)
        try:
            return load_file(path)
        except (SafetensorError, ValueError, OSError) as error:
            raise CorruptError(f"cannot read: {error}", where=str(path)) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other pickle protocols; what cannot be read ends below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        unsafe = "weights_only" in str(error) or "Unsupported" in str(error)
        what = "the file holds Python objects, which could run code when read" if unsafe else "the file is damaged"
        hint = "where it was made: torch.save(model.state_dict(), path), or save it as .safetensors"
        raise CorruptError(what, where=str(path), hint=hint) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, AttributeError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorruptError(f"cannot read: {reason}", where=str(path)) from None
    found = _state_dict(loaded)
    if found is None:
        keys = ", ".join(map(str, loaded)) if isinstance(loaded, Mapping) else type(loaded).__name__
        raise CorruptError(
            f"no state dict in this file, only {keys[:200]}", where=str(path), hint="save model.state_dict() alone"
        )
    return found


def _state_dict(loaded: Any) -> dict[str, Tensor] | None:
    if not isinstance(loaded, Mapping) or not loaded:
        return None
    if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()):
        return {str(name): value.detach() for name, value in loaded.items()}
    inner = [_state_dict(loaded[name]) for name in _CONTAINERS if name in loaded]
    return next((found for found in inner if found is not None), None)
