"""Published weights by name: torchvision's and timm's, with the normalisation and the classes they were trained for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import torch
from torch import Tensor

from ticketcli.errors import InputMissing, UsageError, did_you_mean
from ticketcli.models.table import torchvision_name

PAPERS = "IMAGENET1K_V1"  # the first weights that torchvision published, which the paper's figures belong to


@dataclass(frozen=True)
class Published:
    """Weights from a zoo.

    Attributes:
        arch: the architecture's name here.
        source: the full name, with the tag.
        values: their state dict.
        mean, std: what the images were normalised with, by channel, where black is 0 and white is 1.
        image_size: side in pixels of the images they are evaluated on.
        class_names: by output.
        url: where they come from.
    """

    arch: str
    source: str
    values: dict[str, Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    class_names: tuple[str, ...]
    url: str


def published(source: str) -> Published:
    """Fetch ``torchvision:NAME@TAG`` or ``timm:NAME``, from the library's own cache where it is there.

    Args:
        source: without a tag, torchvision's first ImageNet weights are meant, which are the paper's.

    Raises:
        UsageError: no such network or tag.
        InputMissing: offline; says what to fetch and where to put it.
    """
    zoo, _, rest = source.partition(":")
    return {"torchvision": _torchvision, "timm": _timm}[zoo](rest)


def _torchvision(text: str) -> Published:
    from torchvision import models

    name, tag = torchvision_name(text, models.list_models(module=models))
    tags = models.get_model_weights(name).__members__
    tag = tag or PAPERS
    if tag not in tags:
        raise UsageError(f"no weights '{tag}' of {name}", where="import.source", hint=did_you_mean(tag, tags))
    weights = tags[tag]
    preset = weights.transforms()
    kept = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    state = _fetch(lambda: weights.get_state_dict(progress=False, check_hash=True), weights.url, kept, name)
    return Published(
        name,
        f"torchvision:{name}@{tag}",
        dict(state),
        tuple(preset.mean),
        tuple(preset.std),
        int(preset.crop_size[0]),
        tuple(weights.meta["categories"]),
        weights.url,
    )


def _timm(text: str) -> Published:
    try:
        import timm
    except ImportError:
        raise UsageError("timm is not installed", where="import.source", hint="pip install 'ticketcli[zoo]'") from None
    name = text.replace("@", ".")
    if name.partition(".")[0] not in timm.list_models():
        hint = did_you_mean(name.partition(".")[0], timm.list_models())
        raise UsageError(f"no timm network '{name}'", where="import.source", hint=hint)
    tagged = timm.list_pretrained(f"{name.partition('.')[0]}.*")
    if not tagged or ("." in name and name not in tagged):
        raise UsageError(f"timm has no weights of '{name}'", where="import.source", hint=did_you_mean(name, tagged))
    full = name if "." in name else name + _tag(timm, name)
    card: Any = timm.get_pretrained_cfg(full)
    hub = str(card.hf_hub_id or "")
    url = f"{_hub_address()}/{hub}" if hub else str(card.url)
    kept = _hub_cache() if hub else Path(torch.hub.get_dir()) / "checkpoints"

    def get() -> Any:
        if hub and not _in_hub_cache(hub):
            urlopen(Request(url, method="HEAD"), timeout=20).close()  # the hub's own retries take a minute to give up
        return timm.create_model(full, pretrained=True)

    model = _fetch(get, url, kept, f"timm:{name.partition('.')[0]}")
    return Published(
        f"timm:{name.partition('.')[0]}",
        f"timm:{full}",
        dict(model.state_dict()),
        tuple(card.mean),
        tuple(card.std),
        int(card.input_size[-1]),
        _numbered(int(card.num_classes)),
        url,
    )


def _tag(timm: Any, name: str) -> str:
    tag = timm.get_pretrained_cfg(name).tag
    return f".{tag}" if tag else ""


def _hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _hub_address() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)  # or the mirror that HF_ENDPOINT names


def _in_hub_cache(hub: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return any(
        isinstance(try_to_load_from_cache(hub, name), str) for name in ("model.safetensors", "pytorch_model.bin")
    )


def _numbered(n: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(n))


def _fetch(get: Callable[[], Any], url: str, kept: Path, arch: str) -> Any:
    """Let the library fetch, and turn its many ways to be offline into one clear error."""
    try:
        return get()
    except (URLError, OSError, RuntimeError, json.JSONDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputMissing(
            f"cannot fetch the weights: {reason}",
            where=url,
            hint=f"fetch that file where there is a network and put it into {kept}, or import it as a file: "
            f"ticket import FILE --arch {arch}",
        ) from None
