"""Backbones of timm: any of its nets that says where its features are. Needs the extra `zoo`.

Source: timm, `feature_info` and `forward_intermediates` (timm >= 1.0); parameters keep timm's plain names.
"""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor, fx, nn

from ticketcli.errors import UsageError
from ticketcli.models.encoder import Encoder

PREFIX = "timm:"
_NEEDED = ("feature_info", "forward_intermediates", "forward_head", "reset_classifier")


def load_timm() -> Any:
    """The package, loaded only where one of its nets is asked for.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise UsageError(
            f"architectures that begin with '{PREFIX}' need timm: {error}",
            where="arch",
            hint="pip install 'ticketcli[zoo]'",
        ) from None
    return timm


def image_size_of(name: str) -> int:
    """The side in pixels of the images that a net of timm is for.

    Raises:
        UsageError: timm is not installed, or knows no such net.
    """
    timm = load_timm()
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # a known net with an unknown tag
        config = None
    if config is None:  # names of a hub end here too: nothing is ever downloaded
        base, _, tag = name.partition(".")
        known = timm.list_models(f"{base}.*", pretrained=True) if tag else timm.list_models()
        close = difflib.get_close_matches(name, known or timm.list_models(), n=1)
        hint = f"did you mean '{PREFIX}{close[0]}'?" if close else "timm.list_models() has the names"
        raise UsageError(f"timm knows no net '{name}'", where="arch", hint=hint)
    return int(config.input_size[-1])


class TimmEncoder(Encoder):
    """A net of timm with taps: the deepest feature at each resolution, under the name that `feature_info` gives it.

    The net itself stands beside this module, which shares its tables of parts, parameters and buffers: so every name
    is timm's own, without a prefix, and whatever changes in the one has changed in the other.

    Args:
        name: timm's name of the net, such as `convnext_atto`.
        n_classes: outputs of the classifier.
        draw: source of timm's own initial draw; the global generator is not touched.

    Raises:
        UsageError: timm is not installed or knows no such net, or the net cannot be tapped or masked.
    """

    striding = "strides where timm has them"

    def __init__(self, name: str, n_classes: int, draw: torch.Generator) -> None:
        super().__init__()
        size = image_size_of(name)
        with torch.random.fork_rng(devices=[]):
            _reseed(draw)
            net = load_timm().create_model(name, pretrained=False, num_classes=n_classes)
        _require_usable(net, name)
        config = net.pretrained_cfg
        features = {int(entry["reduction"]): place for place, entry in enumerate(net.feature_info)}  # the last counts
        self._places = sorted(features.values())
        self._fixed_size = size if config.get("fixed_input_size") else None
        self._beside = (net,)  # in a tuple, so that it is no part of this module
        self.tap_names = tuple(str(net.feature_info[place]["module"]) for place in self._places)
        self.depths = tuple(_depth(net, tap) for tap in self.tap_names)
        residual = any(type(part).__name__ == "BasicBlock" for part in net.modules())
        self.block_kind = "basic" if residual else "bottleneck"
        self.stem_names, self.head_names = _names(config["first_conv"]), _names(config["classifier"])
        for table in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            object.__setattr__(self, table, getattr(net, table))

    def taps_and_logits(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Images [N, 3, H, W] -> features, shallow to deep, each [N, C_i, h_i, w_i]; and logits [N, n_classes].

        Raises:
            UsageError: the net only takes images of one size, and these have another.
        """
        net = self._ready_for(x)
        last, features = net.forward_intermediates(x, indices=self._places)
        logits: Tensor = net.forward_head(last)
        return dict(zip(self.tap_names, features, strict=True)), logits

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """The features alone; what the net computes behind the last of them is saved.

        Raises:
            UsageError: as `taps_and_logits`.
        """
        features = self._ready_for(x).forward_intermediates(x, indices=self._places, intermediates_only=True)
        return dict(zip(self.tap_names, features, strict=True))

    def _ready_for(self, x: Tensor) -> Any:
        """The net, in this module's mode."""
        if not isinstance(x, fx.Proxy) and self._fixed_size not in (None, x.shape[-1]):  # a trace is of any size
            raise UsageError(
                f"this net takes images of {self._fixed_size} pixels, not of {x.shape[-1]}",
                where="arch",
                hint=f"set image_size: {self._fixed_size}, or choose a net that takes any size",
            )
        (net,) = self._beside
        net.training = self.training  # the one thing that is not shared
        return net

    @torch.random.fork_rng(devices=[])
    def new_head(self, n_classes: int, draw: torch.Generator) -> None:
        """Replace the classifier by a fresh one of `n_classes`, as timm draws it."""
        _reseed(draw)
        (net,) = self._beside
        net.reset_classifier(n_classes)


def _reseed(draw: torch.Generator) -> None:
    """Let the CPU's global generator follow from `draw`; the caller puts it back."""
    torch.default_generator.manual_seed(int(torch.randint(2**62, (1,), generator=draw)))


def _names(entry: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (entry,) if isinstance(entry, str) else tuple(entry or ())


def _require_usable(net: nn.Module, name: str) -> None:
    lacking = [needed for needed in _NEEDED if not hasattr(net, needed)]
    if lacking or not all("reduction" in entry for entry in net.feature_info):  # type: ignore[union-attr]
        raise UsageError(
            f"timm's '{name}' does not say where its features are",
            where="arch",
            hint=f"it lacks {', '.join(lacking) or 'reductions in feature_info'}; choose another net",
        )
    if any("StdConv" in type(part).__name__ for part in net.modules()):
        raise UsageError(
            f"'{name}' standardises its weights as it runs, so that a masked weight would not count as zero",
            where="arch",
            hint="choose a net without weight standardisation",
        )


def _depth(net: nn.Module, tap: str) -> int:
    """The blocks at a tap: the parts of that stage which hold a weight matrix; one where it is no stage."""
    try:
        stage = net.get_submodule(tap)
    except AttributeError:  # feature_info of a few nets names no part
        return 1
    parts = getattr(stage, "blocks", stage).children()
    weighty = (any(isinstance(inner, (nn.Conv2d, nn.Linear)) for inner in part.modules()) for part in parts)
    return max(1, sum(weighty))
