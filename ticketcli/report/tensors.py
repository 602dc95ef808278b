"""What a tensor file holds, for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ticketcli.report.render import table


def tensors_table(found: Mapping[str, Any]) -> str:
    """The head lines of a file, then a row a tensor; masks and packed tickets show how many weights of each live."""
    lines = [f"{found['file']}: {found['kind']}, {found['size']}, content {found['content'][:16]}"]
    if "kept" in found:
        lines.append(f"{found['kept']:,} of {found['total']:,} weights live, {found['sparsity']:.2%} sparse")
        if "whole" in found:
            lines.append(f"living weights as {found['values']}; {found['whole']} tensors are stored whole")
            lines += [f"head {head}: {n} tensors" for head, n in found["heads"].items()]
        columns = ["tensor", "shape", "living", "of", "sparsity"]
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
        right = ["living", "of", "sparsity"]
    else:
        lines.append(f"{found['total']:,} values in {len(found['tensors'])} tensors")
        columns, right = ["tensor", "shape", "type"], []
        rows = [[one["name"], "x".join(map(str, one["shape"])) or "scalar", one["dtype"]] for one in found["tensors"]]
    for key, value in found["about"].items():
        lines.append(f"  {key}: {value if isinstance(value, str) else json.dumps(value)}")
    return "\n".join([*lines, "", table(columns, rows, right=right)])
