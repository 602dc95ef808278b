"""Three maps that feedback is measured against, each a few lines, from one forward and one backward of a batch.

Libraries for them (captum 0.9, grad-cam 1.5) work alike, but bring matplotlib, and the latter OpenCV, for what is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ticketcli.errors import UsageError
from ticketcli.explain.maps import energy_map, scaled
from ticketcli.explain.passes import forward, held
from ticketcli.explain.score import score_of
from ticketcli.explain.sweeps import Pass, require_scores
from ticketcli.explain.targets import ClassTarget
from ticketcli.explain.tracing import Traced, traced


def gradient_map(network: nn.Module, images: Tensor, target: ClassTarget) -> Tensor:
    """The energy of the logit's gradient in the image.

    Args:
        network: in eval mode, of affine layers, ReLUs and max-pools.
        images: float [N, 3, H, W].
        target: one class for each.

    Returns:
        [N, H, W] in 0..1.

    Source: Simonyan et al., "Deep inside convolutional networks", 2014; which takes the largest of the colours where
    this takes their energy, so that maps differ in their gradient alone.
    """
    plain = traced(network, gate_maxpool=False)
    return energy_map(Pass(plain, images, score_of(plain, target, len(images)), {}).back(held))


def guided_map(network: nn.Module, images: Tensor, target: ClassTarget) -> Tensor:
    """Guided backpropagation: negative gradients stop at every ReLU. Arguments and result as `gradient_map`.

    Source: Springenberg et al., "Striving for simplicity: the all convolutional net", 2015.
    """
    return energy_map(guided_gradient(network, images, target))


def guided_gradient(network: nn.Module, images: Tensor, target: ClassTarget) -> Tensor:
    """The image's gradient, [N, 3, H, W], where only positive ones pass a ReLU.

    FR's first sweep is that, but for gates behind overlapping max-pools, which this has not.
    """
    plain = traced(network, gate_maxpool=False)
    return Pass(plain, images, score_of(plain, target, len(images)), {}).back(
        lambda _name, gradient, _open, _positive: gradient.clamp(min=0)
    )


def gradcam_map(network: nn.Module, images: Tensor, target: ClassTarget) -> Tensor:
    """Grad-CAM at the network's last ReLU that leaves maps. Arguments and result as `gradient_map`.

    ``relu(sum_c a_c A_c)``, where a_c is the mean over the map of the logit's gradient in A_c; resized to the image.

    Raises:
        UsageError: the network has no maps.

    Source: Selvaraju et al., "Grad-CAM", 2017, equations 1 and 2.
    """
    plain = traced(network, gate_maxpool=False)
    activations, gradient = last_maps(plain, images, target)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    small = torch.relu((weights * activations).sum(dim=1, keepdim=True))
    return scaled(F.interpolate(small, images.shape[2:], mode="bilinear", align_corners=False)[:, 0])


def last_maps(network: Traced, images: Tensor, target: ClassTarget) -> tuple[Tensor, Tensor]:
    """What the last ReLU that leaves maps gives, [N, C, h, w], and the logit's gradient there."""
    rectified = {gate.node for gate in network.gates if gate.rectifies}
    score = score_of(network, target, len(images))
    found: list[Tensor] = []

    def see(node: fx.Node, value: Tensor) -> None:
        if node in rectified and value.dim() == 4:
            found[:] = [value]

    with torch.enable_grad():
        scores = score.of(forward(network, images.detach().clone().requires_grad_(), {}, score.node, see=see))
    require_scores(scores.detach())
    if not found:
        raise UsageError(
            "Grad-CAM reads the last maps, and this network has none", where="baseline", hint="gradient, or guided"
        )
    (gradient,) = torch.autograd.grad(scores.sum(), found[0])
    return found[0].detach(), gradient


BASELINES: Mapping[str, Callable[[nn.Module, Tensor, ClassTarget], Tensor]] = MappingProxyType(
    {"gradient": gradient_map, "guided": guided_map, "gradcam": gradcam_map}
)
