"""What the user says about a source of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .split_names import SplitChoice


@dataclass(frozen=True)
class SourceOptions:
    """
    What the user says about a source that does not say it itself.

    Args:
        splits (`dict`, *optional*): The source's own splits for train, validation and test; others are left out.
        dataset_config (`str`, *optional*): Configuration of a source with several.
        labels_from (`str`, *optional*): `"folders"`, `"parquet"`, or the table with the labels (several with `+`
            between them), where there are two readings.
        image_column, label_column (`str`, *optional*): Where they are not found by themselves.
    """

    splits: SplitChoice | None = None
    dataset_config: str | None = None
    labels_from: str | None = None
    image_column: str | None = None
    label_column: str | None = None

    def record(self) -> dict[str, Any]:
        """What the dataset's record says of it: names only, no paths."""
        labels = "+".join(Path(part).name for part in self.labels_from.split("+")) if self.labels_from else None
        said = {
            "splits": {split: list(names) for split, names in self.splits.items()} if self.splits else None,
            "dataset_config": self.dataset_config,
            "labels_from": labels,
        }
        return {name: value for name, value in said.items() if value is not None}

    def refuse_labels_from(self, name: str) -> None:
        """For a source that is no folder."""
        if self.labels_from is not None:
            raise ValueError(f"labels_from={self.labels_from!r} is for folders of images; {name} is none")

    def refuse_folder_options(self, name: str) -> None:
        """For a source that is neither a folder nor on the Hub."""
        self.refuse_labels_from(name)
        if self.dataset_config is not None:
            raise ValueError(f"dataset_config={self.dataset_config!r} does not fit: {name} has no configurations")


# Where the user says nothing.
AS_IT_IS = SourceOptions()
