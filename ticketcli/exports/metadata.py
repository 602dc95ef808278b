"""What an exported file says of itself: which ticket, how sparse, how images have to come in, which classes."""

from __future__ import annotations

from typing import Any

from ticketcli import __version__
from ticketcli.canon import canonical
from ticketcli.channels.compact import ABOUT
from ticketcli.exports.subject import Subject
from ticketcli.training.yields import Loaded


def properties(subject: Subject, source: Loaded, facts: dict[str, Any]) -> dict[str, str]:
    """ONNX's metadata are words by name; what is no word is JSON."""
    about = source.about
    said: dict[str, Any] = {
        "ticket": subject.ref,
        "made_with": f"ticketcli {__version__}, an unofficial implementation",
        "arch": about["arch"],
        "task": about.get("task", "classification"),
        "digests": subject.digests,
        "parameters": facts["parameters"],
        "input": "RGB images [batch, 3, height, width], 0 to 1, less mean, over std",
        "image_size": about["image_size"],
        "mean": about["normalization"]["mean"],
        "std": about["normalization"]["std"],
        "class_names": about["class_names"],
    }
    if source.mask is not None:
        said |= {name: facts[name] for name in ("sparsity", "network_sparsity", "kept", "prunable")}
    said |= {name: about[name] for name in (*ABOUT, "segments") if name in about}
    return {name: value if isinstance(value, str) else canonical(value) for name, value in said.items()}
