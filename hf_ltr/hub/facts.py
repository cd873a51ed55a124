"""What a card may say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..data.class_counts import ClassCounts
from ..redaction import is_secret, name_of_place, public

CLASSIFIER, AUTOENCODER = "image classifier", "masked autoencoder"


@dataclass
class CardFacts:
    """
    What a card may say. Every field but the name is optional, and a fact that is missing is left out of the card.

    Args:
        model_name (`str`): Title of the card and name in the model index.
        kind (`str`, defaults to `"image classifier"`): Or `"masked autoencoder"`.
        model_id (`str`, *optional*): What `from_pretrained` takes: the Hub id or the folder; `model_name` if absent.
        method (`str`, *optional*): Registry name of the method.
        options (`dict`): The method's options.
        papers (sequence of mappings): Sources: `title`, `authors`, `year`, `url` and `bibtex`, as far as known.
        backbone (`str`, *optional*): Name of the backbone.
        license (`str`, *optional*): Licence of the weights, as the Hub names it; that of `initial_weights` if absent.
        base_model (`str`, *optional*): Hub id of the weights that training started from; that of `initial_weights` if
            absent.
        initial_weights (mapping, *optional*): `name` and `license` of the published weights that training started
            from, as [`LongTailConfig`] records them; their terms are said under the limitations.
        tags (sequence of `str`): Further tags.
        language (`str`, *optional*): For the metadata.
        dataset (`str`, *optional*): Hub id, name or folder of the data.
        datasets (sequence of `str`): Further Hub ids.
        dataset_name (`str`, *optional*): In words ("CIFAR-100-LT, imbalance factor 100"); `dataset` if absent.
        test_split (`str`, *optional*): The split that the results are for.
        class_counts (`ClassCounts` or sequence of `int`, *optional*): Training images per class.
        row_hash (`str`, *optional*): Hash of the chosen training rows.
        metrics (mapping): This model's test metrics, as [`long_tail_metrics`] returns them.
        comparisons (mapping of `str` to metrics): Other rows of the table, from the same run.
        paper_results (mapping of `str` to metrics): What the paper reports, in [0, 1].
        paper_protocol (`str`, *optional*): How the paper's protocol differs.
        selection (`str`, *optional*): Which weights were kept and by what rule.
        arguments (mapping): Training arguments that differ from their defaults.
        command (`str`, *optional*): The command line.
        commit (`str`, *optional*): Commit of the code, see [`git_commit`].
        seed (`int`, *optional*)
        epochs (`float`, *optional*)
        steps (`int`, *optional*): Optimiser steps.
        wall_time (`float`, *optional*): Training time in seconds.
        hardware (`str`, *optional*): See [`~hf_ltr.environment.hardware`].
        versions (mapping): See [`package_versions`].
        figures (mapping of `str` to `str`): Path relative to the card by caption.
        limitations (sequence of `str`): What a user must know. Small groups and classes that could not be tested are
            added from the counts and metrics.
    """

    model_name: str
    kind: str = CLASSIFIER
    model_id: str | None = None
    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    papers: Sequence[Mapping[str, Any]] = ()
    backbone: str | None = None
    license: str | None = None
    base_model: str | None = None
    initial_weights: Mapping[str, Any] | None = None
    tags: Sequence[str] = ()
    language: str | None = None
    dataset: str | None = None
    datasets: Sequence[str] = ()
    dataset_name: str | None = None
    test_split: str | None = None
    class_counts: ClassCounts | Sequence[int] | None = None
    row_hash: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    comparisons: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paper_results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paper_protocol: str | None = None
    selection: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    command: str | None = None
    commit: str | None = None
    seed: int | None = None
    epochs: float | None = None
    steps: int | None = None
    wall_time: float | None = None
    hardware: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)
    limitations: Sequence[str] = ()

    @property
    def data_in_words(self) -> str | None:
        return self.dataset_name or self.dataset

    def published(self) -> CardFacts:
        """The same without secrets, and with the names of folders."""
        changes: dict[str, Any] = {
            name: public(getattr(self, name))
            for name in ("model_name", "model_id", "dataset_name", "command", "limitations")
        }
        changes["comparisons"] = {public(name): metrics for name, metrics in self.comparisons.items()}
        for name in ("options", "arguments"):
            kept = {key: value for key, value in getattr(self, name).items() if not is_secret(key, value)}
            changes[name] = public(kept)
        if self.dataset is not None:
            changes["dataset"] = name_of_place(self.dataset)
        if self.initial_weights:
            weights = self.initial_weights
            changes["initial_weights"] = {**weights, "name": name_of_place(weights["name"])}
        return dataclasses.replace(self, **changes)
