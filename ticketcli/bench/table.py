"""The table of suites: a line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Suite:
    """A suite: `function` is module:name below `ticketcli.bench.suites`; `needs` what it cannot run without.

    `comparisons` is how many it times, by which the time is shared out.
    """

    function: str
    summary: str
    comparisons: int
    needs: tuple[str, ...] = ()


GPU = "a GPU"
HOW = {
    "onnxruntime": "pip install 'ticketcli[export]'",
    "hotcoco": "pip install 'ticketcli[coco]'",
    "pycocotools": "pip install pycocotools",
    "faster_coco_eval": "pip install faster-coco-eval",
}

SUITES: Mapping[str, Suite] = {
    "threshold": Suite("threshold:run", "drop the smallest of 23M weights: numpy's and torch's selections; memory", 6),
    "maskstep": Suite("maskstep:run", "keep masked weights at zero: a dense step, torch.nn.utils.prune, loops", 4),
    "step": Suite("step:run", "the training loop: a plain loop on the same batches; memory", 3),
    "recon": Suite("recon:run", "the reconstruction step, decoder frozen: all gradients", 2),
    "mask-io": Suite("mask_io:run", "mask files: bool and float tensors, compressed bits, their entropy", 2),
    "export": Suite("export:run", "a packed ticket: plain safetensors; ONNX Runtime: torch as it is", 4),
    "compact": Suite("compact:run", "a network without its fallen channels: its dense one, by multiply-adds", 13),
    "checkpoint": Suite("checkpoint:run", "writing a checkpoint: torch.save, safetensors, bytes; the loop's wait", 5),
    "startup": Suite("startup:run", "ticket --help: a bare typer app, torchrun --help", 2),
    "coco-eval": Suite("coco_eval:run", "box AP of a val2017: pycocotools, faster-coco-eval", 2, ("hotcoco",)),
    "loader-32": Suite("loader_32:run", "augmented batches of 32 pixels: airbench-style, PIL an image, files", 3),
    "loader-jpeg": Suite("loader_jpeg:run", "augmented batches of JPEGs at 224 pixels: PIL and torchvision v1", 1),
    "train-cpu": Suite("train_cpu:run", "a step in bf16, channels last: fp32 NCHW; each setting alone", 6),
    "train-gpu": Suite("train_gpu:run", "a step in bf16, channels last, compiled: TF32 NCHW, dense loops", 5, (GPU,)),
    "detect-step": Suite("detect_step:run", "a step of Mask R-CNN: torchvision's reference loop", 2),
    "lobs": Suite("lobs:run", "pruning with compensation: plain loops; all layers of a ResNet-50 in a minute", 7),
    "gunn": Suite("gunn:run", "a GUNN's step, one memory for all states: copies of them, a ResNet of its size", 2),
    "end-to-end": Suite("end_to_end:run", "the demo's time in forward, backward and optimiser, by a profile", 1),
}  # fmt: skip

ON_GPU = ("train-gpu", "maskstep", "recon", "threshold", "checkpoint", "step", "detect-step", "gunn")  # in this order
