"""The sections of a card. Each is a title and Markdown, or nothing where nothing is known."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..data.class_counts import ClassCounts
from ..markup import code_block, markdown, markdown_code, metrics_table, one_line
from .facts import CLASSIFIER, CardFacts


def summary(facts: CardFacts) -> str:
    words = ["An image classifier" if facts.kind == CLASSIFIER else "A masked autoencoder, to be fine-tuned,"]
    if facts.backbone:
        words.append(f"with the backbone {markdown_code(facts.backbone)}")
    if facts.data_in_words:
        words.append(f"trained on the long-tailed data set {markdown(facts.data_in_words)}")
    if facts.method:
        words.append(f"with the method {markdown_code(facts.method)} of hf_ltr")
    return " ".join(words) + "."


def usage(facts: CardFacts) -> str:
    model_id = json.dumps(one_line(facts.model_id or facts.model_name), ensure_ascii=False)
    classifier = (
        "import hf_ltr.models  # registers the model with the Auto classes\n"
        "from transformers import AutoImageProcessor, AutoModelForImageClassification\n\n"
        f"processor = AutoImageProcessor.from_pretrained({model_id})\n"
        f"model = AutoModelForImageClassification.from_pretrained({model_id})\n"
        'logits = model(**processor(images=image, return_tensors="pt")).logits'
    )
    encoder = (
        "from hf_ltr import LongTailForImageClassification\n\n"
        "# The encoder with a new classifier, for the training images per class of your data.\n"
        f"model = LongTailForImageClassification.from_pretrained({model_id}, class_counts=class_counts)"
    )
    return _section("How to use", code_block(classifier if facts.kind == CLASSIFIER else encoder, "python"))


def method(facts: CardFacts) -> str:
    if not facts.method:
        return ""
    lines = [markdown_code(facts.method)]
    for paper in facts.papers:
        lines.append(f"Source: {_reference(paper)}")
    if facts.options:
        lines.append("Options:\n\n" + _bullets(_codes(facts.options)))
    return _section("Method", "\n\n".join(lines))


def data(facts: CardFacts) -> str:
    rows: dict[str, Any] = {}
    if facts.data_in_words:
        rows["Data set"] = markdown(facts.data_in_words)
        if facts.dataset and facts.dataset != facts.data_in_words:
            rows["Data set"] += f" ({markdown_code(facts.dataset)})"
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
        rows["Hash of the training rows"] = markdown_code(facts.row_hash)
    return _section("Training data", _bullets(rows))


def results(facts: CardFacts) -> str:
    rows = {markdown(name): metrics for name, metrics in facts.comparisons.items()}
    if facts.metrics:
        rows[f"**{markdown(facts.model_name)}**"] = facts.metrics
    if not rows:
        return ""
    where = f" on the split {markdown_code(facts.test_split)}" if facts.test_split else " on the test images"
    lines = [
        f"Accuracy in percent{where}: over all images, and as the mean over the classes with many, medium and few "
        "training images.",
        metrics_table(rows),
    ]
    if facts.selection:
        lines.append(f"Selected weights: {facts.selection}")
    return _section("Results", "\n\n".join(lines))


def paper_results(facts: CardFacts) -> str:
    if not facts.paper_results:
        return ""
    lines = ["These numbers are the paper's, under its own protocol, and not a result of this model."]
    if facts.paper_protocol:
        lines.append(facts.paper_protocol)
    lines.append(metrics_table({markdown(name): metrics for name, metrics in facts.paper_results.items()}))
    return _section("What the paper reports", "\n\n".join(lines))


def figures(facts: CardFacts) -> str:
    return _section(
        "Figures", "\n\n".join(f"![{markdown(caption)}]({path})" for caption, path in facts.figures.items())
    )


def training(facts: CardFacts) -> str:
    rows: dict[str, Any] = {}
    for name, value in (
        ("Epochs", None if facts.epochs is None else f"{facts.epochs:g}"),
        ("Steps", facts.steps),
        ("Seed", facts.seed),
        ("Training time of all stages", None if facts.wall_time is None else _duration(facts.wall_time)),
        ("Commit", markdown_code(facts.commit) if facts.commit else None),
    ):
        if value is not None:
            rows[name] = value
    parts = [_bullets(rows)]
    if facts.command:
        parts.append(code_block(facts.command, "bash"))
    if facts.arguments:
        parts.append("Arguments that differ from their defaults:\n\n" + _bullets(_codes(facts.arguments)))
    return _section("Training", "\n\n".join(part for part in parts if part))


def environment(facts: CardFacts) -> str:
    rows = {"Hardware": markdown(facts.hardware)} if facts.hardware else {}
    if facts.versions:
        rows["Versions"] = ", ".join(f"{package} {version}" for package, version in facts.versions.items())
    return _section("Environment", _bullets(rows))


def limitations(facts: CardFacts) -> str:
    lines = [one_line(line, 2000) for line in facts.limitations]
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
    trained = f"Trained from the weights {markdown_code(name)}"
    if license is None:
        return f"{trained}, whose licence is not recorded: find it out before these weights are used or shared."
    if re.search(r"\bnc\b", license.lower()):
        in_words = re.sub(r"^CC-([A-Z-]+)-([\d.]+)$", r"CC-\1 \2", license.upper())
        return f"{trained}, which are under {markdown(in_words)}: not for commercial use."
    return f"{trained}, which are under the licence {markdown(license)}: its terms hold here too."


def citation(facts: CardFacts) -> str:
    return _section("Citation", "\n\n".join(code_block(_bibtex(paper), "bibtex") for paper in facts.papers))


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


def _codes(values: Mapping[str, Any]) -> dict[str, str]:
    """Options as code; the long ones (a list with a value for every class) up to a point."""
    return {markdown_code(name): markdown_code(value, 1000) for name, value in values.items()}


def _number(count: int, noun: str) -> str:
    """ "1 class", "2 classes"."""
    return f"{count:,} {noun if count == 1 else noun + 'es'}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
