"""Values of the decoupled methods' public reference code; repository and commit stand in each case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

CASES: dict[str, dict[str, Any]] = {
    case["name"]: case
    for case in json.loads((Path(__file__).parents[1] / "golden" / "experts.json").read_text(encoding="utf-8"))[
        "cases"
    ]
}


def names(prefix: str) -> list[str]:
    return [name for name in CASES if name.startswith(prefix)]


def values(case: str, part: str, name: str) -> torch.Tensor:
    """A tensor of a case: integers as they are, numbers in float64."""
    content = CASES[case][part][name]
    whole = not torch.tensor(content).is_floating_point()
    return torch.tensor(content, dtype=torch.int64 if whole else torch.float64)


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
