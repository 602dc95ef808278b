"""What torch can do here, a JSON object a line; run by `ticket doctor` as a script in a process of its own.

A build that does not fit may crash, and a driver may hang: what was said until then still stands.
"""

from __future__ import annotations

import json
import warnings


def _tell(**found: object) -> None:
    print(json.dumps(found), flush=True)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def main() -> None:
    """Load torch and torchvision, use an operator of each, and compute on every GPU that is visible."""
    import torch

    _tell(
        torch=torch.__version__,
        cuda_build=torch.version.cuda,
        cpu=torch.backends.cpu.get_cpu_capability(),
        threads=torch.get_num_threads(),
    )
    try:
        import torchvision
    except Exception as error:
        _tell(torchvision_error=_first_line(error))
    else:
        _tell(torchvision=torchvision.__version__)
        boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [5.0, 5.0, 6.0, 6.0]])
        try:
            kept = torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist()
            _tell(operators="work" if kept == [0, 2] else f"nms kept {kept}")
        except Exception as error:
            _tell(operators=_first_line(error))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    _tell(warnings=[_first_line(one.message) for one in caught if isinstance(one.message, Warning)])
    _tell(devices=[_device(index) for index in range(count)])


def _device(index: int) -> dict[str, object]:
    """Name and free memory in bytes of a GPU, and what goes wrong when it trains a convolution."""
    import torch

    name, free, error = torch.cuda.get_device_name(index), 0, ""
    try:
        device = torch.device("cuda", index)
        free = torch.cuda.mem_get_info(device)[0]
        layer = torch.nn.Conv2d(3, 4, 3, device=device)
        layer(torch.ones(1, 3, 8, 8, device=device)).sum().backward()
        torch.cuda.synchronize(device)
    except Exception as failed:
        error = _first_line(failed)
    return {"name": name, "free": free, "error": error}


if __name__ == "__main__":
    main()
