"""Values of the methods' public reference code; repository and commit stand in each case."""

from __future__ import annotations

import json
from pathlib import Path

import torch

CASES = json.loads((Path(__file__).parents[1] / "golden" / "losses.json").read_text(encoding="utf-8"))
INPUTS = CASES["_meta"]["inputs"]
COUNTS = INPUTS["class_counts"]


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def golden_logits(case: str) -> torch.Tensor:
    """The case's own logits or the common ones, as a float64 leaf."""
    return tensor(CASES[case].get("logits", INPUTS["logits"])).requires_grad_()


def golden_labels() -> torch.Tensor:
    return torch.tensor(INPUTS["labels"])


def assert_golden(case: str, loss: torch.Tensor, logits: torch.Tensor) -> None:
    """Value and gradient at 1e-9."""
    torch.testing.assert_close(loss, tensor(CASES[case]["loss"]), rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, tensor(CASES[case]["grad"]), rtol=1e-9, atol=1e-9)
