"""Options of the data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data import ClassCounts


@dataclass
class DataOptions:
    """Which images, and how long their tail is. Meaning as in [`load_long_tailed`]."""

    dataset: str = field(default="digits", metadata={"help": "A name of `hf-ltr list datasets`, Hub id or folder."})
    imbalance_factor: float | None = field(default=None, metadata={"help": "Head over tail; unset keeps the data."})
    imbalance_type: str = field(
        default="exponential", metadata={"help": "Shape of the tail.", "choices": ("exponential", "step")}
    )
    order_column: str | None = field(default=None, metadata={"help": "Column that fixes which rows stay."})
    data_dir: str | None = field(default=None, metadata={"help": "Local copy of a named dataset."})
    list_dir: str | None = field(default=None, metadata={"help": "Split lists, if they are not in data_dir."})
    image_column: str | None = field(default=None, metadata={"help": "If it is not found by itself."})
    label_column: str | None = field(default=None, metadata={"help": "If it is not found by itself."})
    labels_from: str | None = field(
        default=None, metadata={"help": "folders, or the table with the labels, where a folder has two readings."}
    )
    splits: str | dict[str, Any] | None = field(
        default=None, metadata={"help": "train=NAME,test=NAME where names do not say it; others are left out."}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a dataset with several."})
    validation_per_class: int = field(default=0, metadata={"help": "Rows per class held out before the tail is cut."})
    subset_seed: int = field(default=0, metadata={"help": "Seed of the chosen rows, apart from the training seed."})
    group_scheme: str = field(default="thresholds", metadata={"help": "thresholds, or auto when a group is empty."})

    def counts(self, data: Any) -> ClassCounts:
        """The class counts of the training split, grouped as asked."""
        from ..data import ClassCounts, class_counts

        counts = class_counts(data["train"])
        return ClassCounts(counts.counts, counts.names, grouping=self.group_scheme)

    def load(self, *, check_lists: bool = True) -> Any:
        """The `DatasetDict`; `check_lists` as in [`load_long_tailed`]."""
        from ..data import load_long_tailed

        others = ("dataset", "group_scheme", "subset_seed")
        own = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name not in others}
        return load_long_tailed(self.dataset, **own, seed=self.subset_seed, check_lists=check_lists)
