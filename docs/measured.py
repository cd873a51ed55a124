"""What was measured here for a method: finished tables and model cards under model_cards."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from huggingface_hub import ModelCard

from hf_ltr.hub.metadata import METRIC_NAMES
from hf_ltr.markup import GROUP_COLUMNS
from hf_ltr.reading import read_json

MEASURED_COLUMNS = ["protocol", "what", "all", *GROUP_COLUMNS[1:], "seeds"]


@dataclass(frozen=True)
class Result:
    """
    A finished run of a table.

    Args:
        method (`str`): Registry name.
        protocol (`str`): What it was run under.
        row (`str`): The method with its options, as the table has it.
        metrics (`dict`): Accuracy of all images and of the groups there are.
    """

    method: str
    protocol: str
    row: str
    metrics: dict[str, float]


def read_results(repository: Path) -> list[Result]:
    """
    All results in a checkout.

    Args:
        repository (`Path`): Its folders `model_cards/*/results` hold what `hf-ltr table` wrote. Those of a search on
            validation images are left out.

    Raises:
        `ValueError`: for a result that is not finite.
    """
    found = []
    for path in sorted((repository / "model_cards").glob("*/results/*.json")):
        content = read_json(path)
        if content["settings"].get("split", "test") != "test":
            continue  # measured to choose by, not to be shown as a result
        metrics = {name: content["metrics"][name] for name in GROUP_COLUMNS if name in content["metrics"]}
        method = content.get("description", {}).get("name")
        found.append(Result(method, content["settings"]["protocol"], content["row"], metrics))
    return found


def measured_table(results: Iterable[Result], method: str) -> list[list[str]]:
    """
    Our results of a method: mean over seeds, and standard deviation from two seeds on, per protocol and row.

    Args:
        results (iterable of [`Result`]).
        method (`str`): Registry name.

    Returns:
        `list[list[str]]`: cells in the order of `MEASURED_COLUMNS`.
    """
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for result in results:
        if result.method == method:
            found.setdefault((result.protocol, result.row), []).append(result.metrics)
    return [
        [f"`{protocol}`", f"`{row}`", *(_spread(runs, name) for name in GROUP_COLUMNS), str(len(runs))]
        for (protocol, row), runs in sorted(found.items())
    ]


def card_rows(repository: Path, method: str) -> list[list[str]]:
    """
    Our results of a method in model cards (`model_cards/*.md`) whose tags name it, in the order of `MEASURED_COLUMNS`.

    Args:
        repository (`Path`): The checkout.
        method (`str`): Registry name.
    """
    rows = []
    for path in sorted((repository / "model_cards").glob("*.md")):
        data = ModelCard.load(path).data
        if method not in (data.tags or []) or not data.eval_results:
            continue
        values = {result.metric_name: result.metric_value for result in data.eval_results}
        found = [values.get(METRIC_NAMES[name]) for name in GROUP_COLUMNS]
        if not all(value is None or math.isfinite(value) for value in found):
            raise ValueError(f"{path} holds a result that is not a number")
        numbers = ["" if value is None else f"{100 * value:.1f}" for value in found]
        link = f"[{path.name}](../model_cards/{path.name})"
        rows.append([link, data.eval_results[0].dataset_name, *numbers, "1"])
    return rows


def _spread(runs: list[dict[str, float]], name: str) -> str:
    values = [100 * run[name] for run in runs if name in run]
    if not values:
        return ""
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")
