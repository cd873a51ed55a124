"""The model card: what a run knows about itself, and nothing else."""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ..data.class_counts import ClassCounts
from ..evaluation.report import format_table
from .eval_results import COLUMNS, is_hub_id

TAGS = ("hf_ltr", "long-tailed-recognition", "class-imbalance", "image-classification")
METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "many": "accuracy on classes with many training images",
    "medium": "accuracy on classes with a medium number of training images",
    "few": "accuracy on classes with few training images",
}


@dataclass
class CardFacts:
    """
    What a card may say. Every field but the name is optional, and a fact that is missing is left out of the card.

    Args:
        model_name (`str`): Title of the card and name in the model index.
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
        dataset (`str`, *optional*): Hub id, name or folder of the data.
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
        hardware (`str`, *optional*): See [`~hf_ltr.hub.hardware`].
        versions (mapping): See [`package_versions`].
        figures (mapping of `str` to `str`): Path relative to the card by caption.
        limitations (sequence of `str`): What a user must know. Small groups and classes that could not be tested are
            added from the counts and metrics.
    """

    model_name: str
    model_id: str | None = None
    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    papers: Sequence[Mapping[str, Any]] = ()
    backbone: str | None = None
    license: str | None = None
    base_model: str | None = None
    initial_weights: Mapping[str, Any] | None = None
    tags: Sequence[str] = ()
    dataset: str | None = None
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


def model_card(facts: CardFacts) -> str:
    """
    Render the card: YAML metadata with a model index of the results per group, then prose and tables.

    Args:
        facts ([`CardFacts`])

    Returns:
        `str`: Markdown, ready for README.md.

    Raises:
        `ValueError`: for a metric that is not finite, by its name.
    """
    template = resources.files(__package__).joinpath("card_template.md").read_text(encoding="utf-8")
    text = string.Template(template).substitute(
        metadata=_metadata(facts).to_yaml().strip(),
        title=facts.model_name,
        summary=_summary(facts),
        usage=_usage(facts),
        method=_method(facts),
        data=_data(facts),
        results=_results(facts),
        paper_results=_paper_results(facts),
        figures=_figures(facts),
        training=_training(facts),
        environment=_environment(facts),
        limitations=_limitations(facts),
        citation=_citation(facts),
    )
    # Sections without facts leave empty lines behind.
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def write_model_card(folder: str | Path, facts: CardFacts) -> Path:
    """Write the card to `folder/README.md` and return its path."""
    text = model_card(facts)
    path = Path(folder) / "README.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _metadata(facts: CardFacts) -> ModelCardData:
    results = []
    for column in COLUMNS:
        value = facts.metrics.get(column)
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{column!r} is {value}, not a number that can be reported.")
    if facts.data_in_words:
        for column in COLUMNS:
            if facts.metrics.get(column) is not None:
                results.append(
                    EvalResult(
                        task_type="image-classification",
                        # The Hub wants an id here; for data that is not on the Hub, its name in the form of one.
                        dataset_type=facts.dataset if is_hub_id(facts.dataset) else _slug(facts.data_in_words),
                        dataset_name=facts.data_in_words,
                        dataset_split=facts.test_split,
                        metric_type="accuracy",
                        metric_name=METRIC_NAMES[column],
                        metric_value=round(float(facts.metrics[column]), 6),
                    )
                )
    initial = facts.initial_weights or {}
    base_model = facts.base_model or initial.get("name")
    optional = {
        "license": facts.license or (initial.get("license") or "unknown" if initial else None),
        "base_model": base_model if is_hub_id(base_model) else None,
        "datasets": [facts.dataset] if is_hub_id(facts.dataset) else None,
        "metrics": ["accuracy"] if facts.metrics else None,
        "eval_results": results or None,
        # The Hub reads the name with the results only.
        "model_name": facts.model_name if results else None,
    }
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="image-classification",
        tags=list(dict.fromkeys([*TAGS, *([facts.method] if facts.method else []), *facts.tags])),
        **{name: value for name, value in optional.items() if value is not None},
    )


def _summary(facts: CardFacts) -> str:
    words = ["An image classifier"]
    if facts.backbone:
        words.append(f"with the backbone `{facts.backbone}`")
    if facts.data_in_words:
        words.append(f"trained on the long-tailed data set {facts.data_in_words}")
    if facts.method:
        words.append(f"with the method `{facts.method}` of hf_ltr")
    return " ".join(words) + "."


def _usage(facts: CardFacts) -> str:
    model_id = json.dumps(facts.model_id or facts.model_name)
    return _section(
        "How to use",
        "```python\n"
        "import hf_ltr.models  # registers the model with the Auto classes\n"
        "from transformers import AutoImageProcessor, AutoModelForImageClassification\n\n"
        f"processor = AutoImageProcessor.from_pretrained({model_id})\n"
        f"model = AutoModelForImageClassification.from_pretrained({model_id})\n"
        'logits = model(**processor(images=image, return_tensors="pt")).logits\n'
        "```",
    )


def _method(facts: CardFacts) -> str:
    if not facts.method:
        return ""
    lines = [f"`{facts.method}`"]
    for paper in facts.papers:
        lines.append(f"Source: {_reference(paper)}")
    if facts.options:
        lines.append("Options:\n\n" + _bullets({f"`{name}`": f"`{value}`" for name, value in facts.options.items()}))
    return _section("Method", "\n\n".join(lines))


def _data(facts: CardFacts) -> str:
    rows: dict[str, Any] = {}
    if facts.data_in_words:
        rows["Data set"] = facts.data_in_words
        if facts.dataset and facts.dataset != facts.data_in_words:
            rows["Data set"] += f" (`{facts.dataset}`)"
    if facts.class_counts is not None:
        counts = ClassCounts.of(facts.class_counts)
        rows["Classes"] = counts.num_classes
        rows["Training images"] = f"{counts.total:,}"
        rows["Training images per class"] = f"{min(counts.counts):,} to {max(counts.counts):,}"
        rows["Imbalance factor"] = f"{counts.imbalance_factor:.4g}"
        rows["Groups"] = ", ".join(
            f"{name}: {_number(len(classes), 'class')} with {sum(counts.counts[index] for index in classes):,} images"
            for name, classes in counts.groups.items()
        )
    if facts.row_hash:
        rows["Hash of the training rows"] = f"`{facts.row_hash}`"
    return _section("Training data", _bullets(rows))


def _results(facts: CardFacts) -> str:
    rows = dict(facts.comparisons)
    if facts.metrics:
        rows[f"**{facts.model_name}**"] = facts.metrics
    if not rows:
        return ""
    where = f" on the split `{facts.test_split}`" if facts.test_split else " on the test images"
    lines = [
        f"Accuracy in percent{where}: over all images, and as the mean over the classes with many, medium and few "
        "training images.",
        format_table({_cell(name): metrics for name, metrics in rows.items()}),
    ]
    if facts.selection:
        lines.append(f"Selected weights: {facts.selection}")
    return _section("Results", "\n\n".join(lines))


def _paper_results(facts: CardFacts) -> str:
    if not facts.paper_results:
        return ""
    lines = ["These numbers are the paper's, under its own protocol, and not a result of this model."]
    if facts.paper_protocol:
        lines.append(facts.paper_protocol)
    lines.append(format_table({_cell(name): metrics for name, metrics in facts.paper_results.items()}))
    return _section("What the paper reports", "\n\n".join(lines))


def _figures(facts: CardFacts) -> str:
    return _section("Figures", "\n\n".join(f"![{caption}]({path})" for caption, path in facts.figures.items()))


def _training(facts: CardFacts) -> str:
    rows: dict[str, Any] = {}
    for name, value in (
        ("Epochs", None if facts.epochs is None else f"{facts.epochs:g}"),
        ("Steps", facts.steps),
        ("Seed", facts.seed),
        ("Training time of all stages", None if facts.wall_time is None else _duration(facts.wall_time)),
        ("Commit", f"`{facts.commit}`" if facts.commit else None),
    ):
        if value is not None:
            rows[name] = value
    parts = [_bullets(rows)]
    if facts.command:
        parts.append(f"```bash\n{facts.command}\n```")
    if facts.arguments:
        arguments = {f"`{name}`": f"`{value}`" for name, value in facts.arguments.items()}
        parts.append("Arguments that differ from their defaults:\n\n" + _bullets(arguments))
    return _section("Training", "\n\n".join(part for part in parts if part))


def _environment(facts: CardFacts) -> str:
    rows = {"Hardware": facts.hardware} if facts.hardware else {}
    if facts.versions:
        rows["Versions"] = ", ".join(f"{package} {version}" for package, version in facts.versions.items())
    return _section("Environment", _bullets(rows))


def _limitations(facts: CardFacts) -> str:
    lines = list(facts.limitations)
    if facts.initial_weights:
        lines.append(_terms(**facts.initial_weights))
    if facts.class_counts is not None and facts.metrics.get("few") is not None:
        counts = ClassCounts.of(facts.class_counts)
        few = counts.groups["few"]
        most = max(counts.counts[index] for index in few)
        lines.append(
            f"{len(few)} of {counts.num_classes} classes were learned from at most {most} images each; their accuracy "
            "is the column `few`, not `all`."
        )
    untested = facts.metrics.get("classes_without_test_images")
    if untested:
        lines.append(f"Nothing is known about the {_number(len(untested), 'class')} without test images.")
    return _section("Limitations", "\n".join(f"- {line}" for line in lines))


def _terms(name: str, license: str | None) -> str:
    """What the licence of the weights that training started from means for whoever uses the model."""
    if license is None:
        return (
            f"Trained from the weights `{name}`, whose licence is not recorded: find it out before these weights are "
            "used or shared."
        )
    if re.search(r"\bnc\b", license.lower()):
        in_words = re.sub(r"^CC-([A-Z-]+)-([\d.]+)$", r"CC-\1 \2", license.upper())
        return f"Trained from the weights `{name}`, which are under {in_words}: not for commercial use."
    return f"Trained from the weights `{name}`, which are under the licence {license}: its terms hold here too."


def _citation(facts: CardFacts) -> str:
    return _section("Citation", "\n\n".join(f"```bibtex\n{_bibtex(paper)}\n```" for paper in facts.papers))


def _reference(paper: Mapping[str, Any]) -> str:
    title = f"[{paper['title']}]({paper['url']})" if paper.get("url") else paper["title"]
    return ", ".join(str(part) for part in (_authors(paper), title, paper.get("year")) if part) + "."


def _authors(paper: Mapping[str, Any]) -> str:
    """The authors, given as one string or as a list, separated by commas."""
    authors = paper.get("authors") or ""
    return authors if isinstance(authors, str) else ", ".join(authors)


def _bibtex(paper: Mapping[str, Any]) -> str:
    """The paper's own entry, or one made of what is known."""
    if paper.get("bibtex"):
        return str(paper["bibtex"]).strip()
    fields = {
        "title": paper["title"],
        "author": _authors(paper).replace(", ", " and "),
        "year": paper.get("year"),
        "url": paper.get("url"),
    }
    first_author = fields["author"].split(" and ")[0].split()
    key = re.sub(r"\W", "", (first_author[-1] if first_author else paper["title"].split()[0]).lower())
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)
    return f"@misc{{{key}{paper.get('year') or ''},\n{lines}\n}}"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _bullets(rows: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in rows.items())


def _cell(text: str) -> str:
    """`text` as a table cell: a bar or a line break would end it."""
    return text.replace("|", "\\|").replace("\n", " ")


def _number(count: int, noun: str) -> str:
    """ "1 class", "2 classes"."""
    return f"{count:,} {noun if count == 1 else noun + 'es'}"


def _slug(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text.lower()).strip("-.")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
