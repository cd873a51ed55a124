"""What an adjustment did and what it was worth: table, metrics.json, README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..files import write_metrics, write_text
from ..markup import MODEL_COLUMNS, markdown, markdown_code, metrics_table
from ..naming import is_hub_id
from ..redaction import name_of_place, without_secrets
from .options import ADJUSTMENTS

NOT_MEASURED = "There is no validation split, so nothing was measured."


@dataclass
class AdjustmentReport:
    """
    Args:
        method (`str`): A name in `ADJUSTMENTS`.
        source (`str`): The checkpoint it started from: Hub id, or the folder's name.
        folder (`str`): The adjusted checkpoint.
        record (`dict`): What the config's `long_tail_adjustment` says.
        validation (`dict`): Metrics on the validation split by `"before"` and `"after"`; empty without one.
        test (`dict`): The same on the test split, if it was asked for.
        sweep (`dict[float, float]`): Criterion on the validation split by tau, if several were tried.
        dataset (`str`, *optional*): The data's name, for the README.
    """

    method: str
    source: str
    folder: str
    record: dict[str, Any]
    validation: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    test: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    sweep: dict[float, float] = field(default_factory=dict)
    dataset: str | None = None

    def rows(self, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """Results under the names of table rows."""
        tau = self.record.get("tau")
        name = self.method if tau is None else f"{self.method}, tau {tau:g}"
        return {("before" if key == "before" else f"after {name}"): value for key, value in results.items()}

    def summary(self) -> str:
        """Tables of percent, and what they were measured on."""
        parts = []
        if self.validation:
            chosen = ""
            if self.sweep:
                chosen = f" tau was chosen here, among {len(self.sweep)} values."
            parts += [metrics_table(self.rows(self.validation), MODEL_COLUMNS), f"On the validation split.{chosen}"]
        else:
            tau = self.record.get("tau")
            fixed = "" if tau is None else f" tau {tau:g} was not chosen on data."
            parts.append(NOT_MEASURED + fixed)
        if self.test:
            parts += [
                metrics_table(self.rows(self.test), MODEL_COLUMNS),
                "On the test split, read once after everything was chosen.",
            ]
        return "\n\n".join(parts)

    def write(self, folder: str | Path | None = None) -> None:
        """`metrics.json` and `README.md` into the folder, or into another that will be it."""
        folder = Path(self.folder if folder is None else folder)
        write_metrics(
            folder / "metrics.json",
            {
                "adjustment": self.record,
                "validation": {key: dict(value) for key, value in self.validation.items()} or None,
                "test": {key: dict(value) for key, value in self.test.items()} or None,
                "sweep": [{"tau": tau, "criterion": value} for tau, value in self.sweep.items()] or None,
            },
        )
        write_text(folder / "README.md", without_secrets(self.readme()))

    def readme(self) -> str:
        """A model card: metadata, what was done, and the tables."""
        metadata = {
            "library_name": "transformers",
            "pipeline_tag": "image-classification",
            **({"base_model": self.source} if is_hub_id(self.source) else {}),
            "tags": ["hf_ltr", "long-tailed-recognition", "class-imbalance"],
        }
        source, dataset = name_of_place(self.source), self.dataset
        lines = ["---", yaml.safe_dump(metadata, sort_keys=False).rstrip(), "---", ""]
        lines += [f"# {markdown(source)}, adjusted by {self.method}", ""]
        lines += [f"`hf-ltr adjust` made this from {markdown_code(source)}: it {ADJUSTMENTS[self.method]}.", ""]
        if dataset is not None:
            lines += [f"Class counts and images: {markdown_code(name_of_place(dataset))}.", ""]
        counts = self.record.get("class_counts")
        if counts:
            lines += [
                f"Training images per class: {max(counts):,} to {min(counts):,}, {len(counts):,} classes, "
                f"{sum(counts):,} in all. The backbone is unchanged; `long_tail_adjustment` in config.json says "
                "what was done.",
                "",
            ]
        lines += ["## Accuracy in percent", "", self.summary(), ""]
        lines += [
            "Groups by training images of the class, as in the table's columns; group accuracies are means over the "
            "classes of the group.",
            "",
        ]
        return "\n".join(lines)
