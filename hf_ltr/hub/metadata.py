"""The YAML in front of a card: what the Hub reads."""

from __future__ import annotations

import re
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ..markup import one_line
from ..naming import is_hub_id
from .eval_results import reportable
from .facts import CLASSIFIER, CardFacts

TAGS = ("hf_ltr", "long-tailed-recognition", "class-imbalance", "image-classification")
METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "many": "accuracy on classes with many training images",
    "medium": "accuracy on classes with a medium number of training images",
    "few": "accuracy on classes with few training images",
}


def metadata(facts: CardFacts) -> ModelCardData:
    """
    The front matter of a card.

    Args:
        facts ([`CardFacts`])

    Raises:
        `ValueError`: for a metric that is not finite, by its name.
    """
    initial = facts.initial_weights or {}
    base_model = facts.base_model or initial.get("name")
    results = _results(facts)
    optional: dict[str, Any] = {
        **_license(facts.license or (initial.get("license") or "unknown" if initial else None)),
        "base_model": base_model if is_hub_id(base_model) else None,
        "datasets": [name for name in (facts.dataset, *facts.datasets) if is_hub_id(name)] or None,
        "metrics": ["accuracy"] if facts.metrics else None,
        "eval_results": results or None,
        # The Hub reads the name with the results only.
        "model_name": one_line(facts.model_name) if results else None,
        "language": facts.language,
    }
    tags = [*(TAGS if facts.kind == CLASSIFIER else TAGS[:-1]), *([facts.method] if facts.method else []), *facts.tags]
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="image-classification" if facts.kind == CLASSIFIER else "image-feature-extraction",
        tags=list(dict.fromkeys(one_line(tag) for tag in tags)),
        **{name: value for name, value in optional.items() if value is not None},
    )


def _results(facts: CardFacts) -> list[EvalResult]:
    metrics = reportable(facts.metrics)
    if not facts.data_in_words:
        return []
    return [
        EvalResult(
            task_type="image-classification",
            # The Hub wants an id here; for data that is not on the Hub, its name in the form of one.
            dataset_type=facts.dataset if is_hub_id(facts.dataset) else slug(facts.data_in_words),
            dataset_name=one_line(facts.data_in_words),
            dataset_split=one_line(facts.test_split) if facts.test_split else None,
            metric_type="accuracy",
            metric_name=METRIC_NAMES[column],
            metric_value=value,
        )
        for column, value in metrics.items()
    ]


def _license(license: str | None) -> dict[str, str]:
    """The Hub takes its own identifiers only; anything else is `other`, with a name."""
    if license is None:
        return {}
    identifier = license.strip().lower()
    if re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,60}", identifier):
        return {"license": identifier}
    return {"license": "other", "license_name": slug(license)}


def slug(text: str) -> str:
    """`text` in the form of an identifier, never empty."""
    return re.sub(r"[^\w.]+", "-", one_line(text).lower()).strip("-.")[:96] or "unnamed"
