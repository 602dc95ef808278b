"""What a tensor file holds, for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ticketcli.report.render import table

_SHOWN = 12  # entries of a list


def tensors_table(found: Mapping[str, Any]) -> str:
    """The head lines of a file, then a row a tensor; masks and packed tickets show how many weights of each live."""
    lines = [f"{found['file']}: {found['kind']}, {found['size']}, content {found['content'][:16]}"]
    if "kept" in found:
        is_gates = found["kind"] == "gates"
        what, living, sparse = ("gates open", "open", "closed") if is_gates else ("weights live", "living", "sparse")
        lines.append(f"{found['kept']:,} of {found['total']:,} {what}, {found['sparsity']:.2%} {sparse}")
        if "whole" in found:
            lines.append(f"living weights as {found['values']}; {found['whole']} tensors are stored whole")
            lines += [f"head {head}: {n} tensors" for head, n in found["heads"].items()]
        columns = ["gate" if is_gates else "tensor", "shape", living, "of", "closed" if is_gates else "sparsity"]
        rows = [
            [
                one["name"],
                "x".join(map(str, one["shape"])),
                f"{one['kept']:,}",
                f"{one['of']:,}",
                f"{1 - one['kept'] / one['of']:.2%}" if one["of"] else "",
            ]
            for one in found["tensors"]
        ]
        right = columns[2:]
    else:
        lines.append(f"{found['total']:,} values in {len(found['tensors'])} tensors")
        columns, right = ["tensor", "shape", "type"], []
        rows = [[one["name"], "x".join(map(str, one["shape"])) or "scalar", one["dtype"]] for one in found["tensors"]]
    for key, value in found["about"].items():
        lines.append(f"  {key}: {value if isinstance(value, str) else _short(value)}")
    return "\n".join([*lines, "", table(columns, rows, right=right)])


def _short(value: Any) -> str:
    """As JSON; of a long list, such as the names of images, the first and how many more."""
    if isinstance(value, list) and len(value) > _SHOWN:
        return f"{json.dumps(value[:_SHOWN])} and {len(value) - _SHOWN:,} more"
    return json.dumps(value)
