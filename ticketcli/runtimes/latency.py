"""How long a network takes in each runtime, beside its dense network: in turn A B B A, with an A/A control."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import torch

from ticketcli.errors import TicketError, UsageError
from ticketcli.events import Pause
from ticketcli.pairing import Contender, Interval, Paired, pair
from ticketcli.runtimes.onnx_graph import require_onnx, to_onnx
from ticketcli.runtimes.outputs import Work, folded_last
from ticketcli.runtimes.session import Session, agreement, images_like

BATCHES = (1, 16)
_SEED = 1
_LONGEST = 300  # characters of a reason
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
Prepared = Callable[[torch.Tensor], Contender]  # images -> what computes their outputs


def devices() -> tuple[torch.device, ...]:
    """The CPU, and a GPU where torch can use one."""
    return (torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else []))


def latencies(
    ours: Work, dense: Work, *, seconds: float, least: int = 3, batches: tuple[int, ...] | None = None
) -> Generator[Pause, None, dict[str, Any]]:
    """Time both in every runtime that is here, on every device, and compare what is computed with torch's own.

    Yields pauses between two comparisons.

    Args:
        ours: the network that is measured; moved to each device in turn, and left on the CPU.
        dense: the one that it is compared with.
        seconds: for the turns of each comparison; at least `least` turns are made.
        least: turns of each comparison, which are two pairs each.
        batches: images in a forward pass; 1 and 16 if not said.

    Returns:
        For a step's metrics, `latency`: device -> runtime -> batch -> milliseconds of ours and of the dense one, the
        ratio dense over ours with its interval, the control's, pairs; `threads`; and `missing`: what could not be
        measured, and why.
    """
    runtimes = {"eager": _eager, "folded": _folded, "compiled": _compiled, "onnxruntime": _onnxruntime}
    sizes = BATCHES if batches is None else batches
    found: dict[str, Any] = {"threads": torch.get_num_threads(), "side": ours.side, "missing": {}}
    done, total = 0, len(devices()) * len(runtimes) * len(sizes)
    for device in devices():
        for work in (ours, dense):
            work.module.to(device)
        of_device = found[device.type] = {}
        for name, prepare in runtimes.items():
            rows: dict[str, Any] = {}
            with closing(_comparisons(prepare, ours, dense, device, sizes, seconds, least)) as turns:
                for batch in sizes:
                    yield Pause("latency", done, total)
                    done += 1
                    row = next(turns)
                    if isinstance(row, str):
                        found["missing"][f"{device.type}, {name}, batch {batch}"] = row
                    else:
                        rows[str(batch)] = row
            if rows:
                of_device[name] = rows
    for work in (ours, dense):
        work.module.to("cpu")
    return found


def _comparisons(
    prepare: Callable[[Work, torch.device], Prepared],
    ours: Work,
    dense: Work,
    device: torch.device,
    batches: tuple[int, ...],
    seconds: float,
    least: int,
) -> Generator[dict[str, Any] | str, None, None]:
    """In one runtime, for each batch the numbers, or why there are none; the networks are prepared once."""
    with _still():
        both: list[Prepared] = []
        for batch in batches:
            try:
                both = both or [prepare(work, device) for work in (ours, dense)]
                images = images_like(ours.side, batch, _SEED).to(device)
                one, other = (each(images) for each in both)
                for work, contender in ((ours, one), (dense, other)):
                    _require_equal(work, images, contender)
                if device.type == "cuda":
                    one, other = partial(_finished, one), partial(_finished, other)
                yield numbers(pair(one, other, seconds=seconds, least=least))
            except (TicketError, RuntimeError) as error:  # torch tells of all that goes wrong by RuntimeError
                what = error.what if isinstance(error, TicketError) else next(iter(str(error).splitlines()), "?")
                yield what[:_LONGEST]


def numbers(timed: Paired) -> dict[str, Any]:
    """A comparison as metrics hold it."""
    return {
        "milliseconds": 1000 * timed.ours,
        "dense_milliseconds": 1000 * timed.peer,
        "faster": _interval(timed.ratio.inverse),
        "control": _interval(timed.control),
        "pairs": timed.ratio.n,
    }


def _interval(found: Interval) -> Mapping[str, float]:
    return {"median": found.median, "low": found.low, "high": found.high}


def _require_equal(work: Work, images: torch.Tensor, contender: Contender) -> None:
    """A runtime that computes something else is not timed.

    Raises:
        UsageError: it does.
    """
    answer: Any = contender()
    found = [one.cpu().numpy() if isinstance(one, torch.Tensor) else one for one in answer]
    apart = agreement([one.cpu().numpy() for one in work(images)], found)
    if not apart.holds:
        raise UsageError(f"it computes something else than torch does: {apart}")


def _eager(work: Work, _device: torch.device) -> Prepared:
    return lambda images: partial(work, images)


def _folded(work: Work, device: torch.device) -> Prepared:
    return _eager(folded_last(work), device)


def _compiled(work: Work, _device: torch.device) -> Prepared:
    """Compiled for each batch alone; the first call compiles.

    Raises:
        UsageError: there is no compiler, or it fails on this network.
    """
    run = torch.compile(work.module, dynamic=False)

    @torch.inference_mode()
    def call(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = run(images)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def prepared(images: torch.Tensor) -> Contender:
        try:
            call(images)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UsageError(f"cannot compile: {reason}", hint="install a C++ compiler") from error
        return partial(call, images)

    return prepared


def _onnxruntime(work: Work, device: torch.device) -> Prepared:
    """ONNX Runtime with as many threads as torch has, its input and outputs in the machine's own memory.

    Raises:
        UsageError: it is not installed, cannot use the device, or cannot run the network.
    """
    require_onnx("latency")
    provider = _CPU
    if device.type == "cuda":
        import onnxruntime

        provider = _CUDA
        if provider not in onnxruntime.get_available_providers():
            raise UsageError("this onnxruntime has no CUDA", hint="pip install onnxruntime-gpu")
    content: bytes = to_onnx(work, None, where="latency").SerializeToString()
    session = Session(content, torch.get_num_threads(), provider)
    return lambda images: partial(session, images.cpu().numpy())


def _finished(work: Contender) -> object:
    found = work()
    torch.cuda.synchronize()
    return found


@contextmanager
def _still() -> Iterator[None]:
    """What was compiled before is forgotten: torch counts versions, and silently stops to compile beyond a limit.

    Compilers warn and log; what matters comes as an error.
    """
    torch.compiler.reset()
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        torch.compiler.reset()
