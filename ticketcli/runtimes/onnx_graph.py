"""A network as an ONNX graph: dense, the masked weights exact zeros, free of everything that only the maker needs."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from ticketcli import __version__
from ticketcli.errors import CorruptError, UsageError
from ticketcli.runtimes.outputs import Work
from ticketcli.store.mask import BoolArray, Mask

NEEDS = ("onnx", "onnxscript", "onnxruntime")
INPUT = "images"
_LIMIT = 2**31 - 2**20  # bytes that one message of protobuf holds, and some room
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_MAKERS = ("metadata_props", "doc_string")  # with the maker's folders and lines of code in them
_GENERIC = ("Failed to", "- ", "##", "Refer ", "This is step")


def require_onnx(where: str = "--to") -> None:
    """Refuse where a package is missing that ONNX files are made and checked with.

    Raises:
        UsageError: names the package.
    """
    for name in NEEDS:
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"{name} is not installed", where=where, hint="pip install 'ticketcli[export]'")


def to_onnx(work: Work, mask: Mask | None, *, where: str) -> Any:
    """The graph of a network, in the opset that torch's exporter writes, for any batch; and any image if it may.

    BatchNorm is multiplied into the convolutions, as ONNX Runtime would do itself; a masked weight stays zero by it,
    and is written as +0.0.

    Args:
        work: the network, and what its outputs are called.
        mask: which weights live, by the network's names; None where all do.
        where: what is exported, for errors.

    Raises:
        UsageError: an operation has no equivalent in ONNX, the network cannot be traced, or it is too large.
        CorruptError: a masked weight has not come out as zero.
    """
    require_onnx()
    example = torch.zeros(2, 3, work.side, work.side, device=next(work.module.parameters()).device)
    free = {0: torch.export.Dim("batch")}
    if work.any_size:
        free |= {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    try:
        with _quiet():
            program = torch.onnx.export(
                work.module, (example,), dynamo=True, verbose=False, input_names=[INPUT],
                output_names=list(work.names), dynamic_shapes=(free,),
            )  # fmt: skip
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        hint = "a network of torchvision's or timm's usual layers, or --taps for its backbone alone"
        raise UsageError(f"cannot be written as ONNX: {_reason(error)}", where=where, hint=hint) from error
    assert program is not None
    graph = program.model_proto
    if graph.ByteSize() > _LIMIT:
        raise UsageError(
            "too large for one ONNX file, which holds 2 GB", where=where, hint="export its backbone: --taps"
        )
    _forget_the_maker(graph)
    graph.producer_name, graph.producer_version = "ticketcli", __version__
    if mask is not None:
        _keep_zeros(graph, mask, work.prefix, where)
    return graph


def describe(graph: Any, said: Mapping[str, str]) -> None:
    """Put words into the file's metadata, by name; what was there is replaced."""
    import onnx

    onnx.helper.set_model_props(graph, dict(said))


def described(content: bytes) -> dict[str, str]:
    """The metadata of an ONNX file."""
    import onnx

    return {one.key: one.value for one in onnx.load_model_from_string(content).metadata_props}


def opset_of(graph: Any) -> int:
    """The version of ONNX's own operators that the graph is written in."""
    return int(next(one.version for one in graph.opset_import if one.domain in ("", "ai.onnx")))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints, logs and warns on its way; what matters comes as an error."""
    before = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)


def _reason(error: BaseException) -> str:
    """The line that says most, of the innermost error: the exporter wraps each in a page of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [_COLOURS.sub("", line).strip() for line in str(error).splitlines()]
    useful = [line for line in lines if line and not line.startswith(_GENERIC)]
    return (useful[0] if useful else type(error).__name__)[:300]


def _forget_the_maker(message: Any) -> None:
    """Take out, all the way down, what only says where and how the graph was made."""
    for field, value in message.ListFields():
        if field.name in _MAKERS:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for one in value if field.is_repeated else (value,):
                _forget_the_maker(one)


def _keep_zeros(graph: Any, mask: Mask, prefix: str, where: str) -> None:
    """See that every masked weight is zero in the graph, under its name or another, and make it +0.0."""
    import onnx

    weights = {one.name: one for one in graph.graph.initializer}
    for name, alive in mask.items():
        named = weights.get(prefix + name)
        others = [named] if named is not None else [one for one in weights.values() if _fits(one, alive)]
        for one in others:
            found = onnx.numpy_helper.to_array(one)
            dropped = ~(alive if found.shape == alive.shape else alive.T)
            if not found[dropped].any():
                one.CopyFrom(onnx.numpy_helper.from_array(_zeroed(found, dropped), one.name))
                break
        else:
            raise CorruptError(f"masked weights of '{name}' are not zero in the ONNX graph", where=where)


def _fits(initializer: Any, alive: BoolArray) -> bool:
    """Whether a tensor of the graph can be a parameter under another name: a linear layer's may lie transposed."""
    shape = tuple(initializer.dims)
    return shape == alive.shape or (alive.ndim == 2 and shape == alive.T.shape)


def _zeroed(values: NDArray[Any], dropped: BoolArray) -> NDArray[Any]:
    zeroed = values.copy()
    zeroed[dropped] = 0.0  # BatchNorm's factor may have been negative: -0.0
    return zeroed
