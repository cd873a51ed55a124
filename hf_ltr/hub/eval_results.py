"""Results in the Hub's own format, `.eval_results/*.yaml`, which the model page shows and links to the data set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from ..markup import MODEL_COLUMNS
from ..naming import is_hub_id

FOLDER = ".eval_results"


def reportable(metrics: Mapping[str, Any]) -> dict[str, float]:
    """
    The metrics that the Hub is told, rounded.

    Raises:
        `ValueError`: for a value that is not finite, by its name.
    """
    found = {column: metrics[column] for column in MODEL_COLUMNS if metrics.get(column) is not None}
    for column, value in found.items():
        if not math.isfinite(value):
            raise ValueError(f"{column!r} is {value}, not a number that can be reported.")
    return {column: round(float(value), 6) for column, value in found.items()}


def write_eval_results(
    folder: str | Path,
    metrics: Mapping[str, Any],
    *,
    dataset: str | None,
    notes: str | None = None,
) -> Path | None:
    """
    Write `.eval_results/<owner>--<name>.yaml` into a model folder, from where a push takes it to the Hub.

    Args:
        folder (`str` or `Path`): The model's folder.
        metrics (mapping): Metrics in [0, 1] as [`long_tail_metrics`] returns them, on the test split.
        dataset (`str`, *optional*): What the model was tested on. Only a Hub id can be linked: for a folder, an
            embedded data set or None nothing is written.
        notes (`str`, *optional*): One line about the protocol.

    Returns:
        `Path` or `None`: the file, None if there was nothing to write.

    Raises:
        `ValueError`: for a value that is not finite, by its name.
    """
    if not is_hub_id(dataset):
        return None
    entries = [
        EvalResultEntry(dataset_id=dataset, task_id=f"long_tailed_{column}", value=value, notes=notes)
        for column, value in reportable(metrics).items()
    ]
    if not entries:
        return None
    path = Path(folder) / FOLDER / f"{dataset.replace('/', '--')}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False), encoding="utf-8")
    return path
