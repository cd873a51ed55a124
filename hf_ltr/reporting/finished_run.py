"""What is written beside a trained model: metrics.json, figures, the card and the results in the Hub's format."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.class_counts import ClassCounts
from ..environment import git_commit, hardware, package_versions
from ..files import write_metrics
from ..hub import CardFacts, has_own_card, write_eval_results, write_model_card
from ..methods import all_options, all_papers
from .figures import plot_group_accuracy, plot_per_class_accuracy
from .group_figures import plot_group_errors, plot_group_given

logger = logging.getLogger(__name__)


@dataclass
class StageResult:
    """
    A finished stage.

    Args:
        name (`str`): Of the stage.
        folder (`str`): Holds model, processor and `stage.json`; `from_pretrained` loads it.
        metrics (`dict[str, float]`): Of the last epoch's weights on the test set; empty for stages without classes.
        seconds (`float`): Training time, all sessions of an interrupted stage together.
        computation (`dict`, *optional*): Precision, memory format, device and capability that were used (see
            [`~hf_ltr.trainer.precision.computation`]); stages that an earlier version finished do not say it.
    """

    name: str
    folder: str
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    computation: dict[str, str] | None = None


@dataclass
class FinishedRun:
    """
    A trained model's record, the same whether a recipe or a few lines of Python trained it. What is not known is left
    out; nothing is measured here.

    Args:
        folder (`Path`): Holds the model.
        config ([`LongTailConfig`]): Of the model.
        method (`dict`, *optional*): As [`LongTailMethod.describe`] gives it.
        dataset (`str`, *optional*): Hub id, name or folder of the data.
        imbalance_factor (`float`, *optional*): Of the tail that was cut.
        counts ([`ClassCounts`], *optional*): Of the training split, with the groups that the results are for.
        row_hash (`str`, *optional*): Of the training rows.
        rows (`dict` of metrics): Results by name; the last one is the model's. Empty where it was not evaluated.
        per_class (`dict` of lists): Accuracy per class of each row.
        seconds (`dict`): Training time by stage.
        selection (`str`): Which weights were kept, for metrics.json.
        computation (`dict`): What each stage, and `"evaluation"`, used: precision, memory format, device, capability.
        card (`dict`): What else the card may say, fields of [`CardFacts`].
    """

    folder: Path
    config: Any
    method: Mapping[str, Any] | None = None
    dataset: str | None = None
    imbalance_factor: float | None = None
    counts: ClassCounts | None = None
    row_hash: str | None = None
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    per_class: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    selection: str = "last epoch"
    computation: Mapping[str, Mapping[str, str] | None] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)

    def write(self, *, keep_own_card: bool = False, **card: Any) -> None:
        """
        Write everything into the folder.

        Args:
            keep_own_card (`bool`): Leave a README.md alone that somebody else wrote.
            card: Fields of [`CardFacts`] in the place of those of the run.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_metrics()
        figures = draw_figures(self.folder, self.rows, self.per_class, self.counts) if self.rows else {}
        if keep_own_card and has_own_card(self.folder):
            logger.warning("%s is not a card of hf_ltr and is kept", self.folder / "README.md")
        else:
            write_model_card(self.folder, dataclasses.replace(self.facts(), figures=figures, **card))
        write_eval_results(self.folder, self.metrics, dataset=self.dataset)

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Of the model itself."""
        return self.rows[list(self.rows)[-1]] if self.rows else {}

    def write_metrics(self) -> None:
        """`metrics.json`: every number of the run, and the rows it was trained on."""
        counts = self.counts
        write_metrics(
            self.folder / "metrics.json",
            {
                "results": self.rows,
                "per_class_accuracy": self.per_class,
                "class_counts": None if counts is None else list(counts.counts),
                "groups": {} if counts is None else {name: len(classes) for name, classes in counts.groups.items()},
                "row_hash": self.row_hash,
                "seconds": {name: round(seconds, 1) for name, seconds in self.seconds.items()},
                "selection": self.selection,
                "computation": self.computation,
            },
        )

    def facts(self) -> CardFacts:
        """For the card."""
        name = None if self.method is None else self.method["name"]
        title = " on ".join(part for part in (name, self.dataset) if part)
        known: dict[str, Any] = {
            "model_name": title or self.folder.resolve().name,
            "model_id": self.folder.resolve().name,
            "method": name,
            "options": {} if self.method is None else all_options(self.method),
            "papers": [] if self.method is None else all_papers(self.method),
            "backbone": self.config.backbone,
            "initial_weights": self.config.initial_weights,
            "dataset": self.dataset,
            "dataset_name": self._dataset_in_words(),
            "class_counts": self.counts,
            "row_hash": self.row_hash,
            "metrics": self.metrics,
            "comparisons": {name: self.rows[name] for name in list(self.rows)[:-1]},
            "commit": git_commit(),
            "wall_time": sum(self.seconds.values()) if self.seconds else None,
            "hardware": " in ".join(part for part in (hardware(), self._precisions()) if part),
            "versions": package_versions(),
        }
        return CardFacts(**{**known, **self.card})

    def _precisions(self) -> str:
        used = [facts["precision"] for facts in self.computation.values() if facts]
        return ", then ".join(dict.fromkeys(used))

    def _dataset_in_words(self) -> str | None:
        if self.dataset is None or not self.imbalance_factor:
            return self.dataset
        return f"{self.dataset}, long-tailed, imbalance factor {self.imbalance_factor:g}"


def draw_figures(
    folder: str | Path,
    rows: Mapping[str, Mapping[str, Any]],
    per_class: Mapping[str, Sequence[float | None]],
    counts: ClassCounts | None,
) -> dict[str, str]:
    """
    Draw what the rows have numbers for into `figures/`.

    Args:
        folder (`str` or `Path`): Of the card.
        rows, per_class, counts: As in [`FinishedRun`].

    Returns:
        `dict[str, str]`: paths relative to the card by caption.
    """
    folder = Path(folder) / "figures"
    # Absent where there is one group only, and in stages that an earlier version finished.
    errors = {name: metrics["group_errors"] for name, metrics in rows.items() if metrics.get("group_errors")}
    given = {name: metrics for name, metrics in rows.items() if "oracle_accuracy" in metrics}
    try:
        plot_group_accuracy(folder / "groups.png", rows)
        figures = {"Accuracy by group": "figures/groups.png"}
        if per_class and counts is not None:
            plot_per_class_accuracy(folder / "per_class.png", counts, per_class)
            figures["Accuracy by training images of the class"] = "figures/per_class.png"
        if errors:
            plot_group_errors(folder / "group_errors.png", errors)
            figures["Groups that misclassified images were predicted into"] = "figures/group_errors.png"
        if given:
            plot_group_given(folder / "group_given.png", given)
            figures["Accuracy against all classes, and with the group given"] = "figures/group_given.png"
    except ImportError as error:
        print(f"No figures: {error}")
        return {}
    return figures
