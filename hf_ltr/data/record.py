"""
The record a long-tailed dataset carries about itself.

`datasets` keeps no free-form metadata of its own, but `info.description` survives select, shuffle, map, save_to_disk
and the Arrow files; so the record is one JSON line in it, behind a marker, and the text in front of it stays the
user's. A push to the Hub drops the description (`push_to_hub` keeps the features only), but `load_dataset` reads one
from the `dataset_info` of the README: [`dataset_card`] puts the records there. So push the data first and the card
after it.

The record is provenance. What training counts is the label column itself (see [`class_counts`]), and
[`long_tail_info`] compares the record with the rows that are there: of a subset it reports the subset.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..markup import markdown, markdown_code, markdown_table
from ..redaction import public
from .class_counts import ClassCounts, class_counts, label_array
from .row_identity import hash_rows

MARKER = "hf_ltr-long-tail:"
POSITION_IDENTITY = "(label, row of the source split)"
# What tells whether the rows are still those of the record; nobody else's business.
SEEN = "_seen"


def write_record(dataset: Any, record: dict[str, Any]) -> Any:
    """A dataset of the same rows whose info carries `record`; the given one is left alone."""
    dataset = copy.copy(dataset)
    dataset._info = copy.deepcopy(dataset._info)
    text = (dataset._info.description or "").split(MARKER)[0].rstrip()
    dataset._info.description = f"{text}\n{_line(record)}".lstrip()
    return dataset


def _line(record: dict[str, Any]) -> str:
    return f"{MARKER} {json.dumps(record, sort_keys=True)}"


def read_record(dataset: Any) -> dict[str, Any] | None:
    """The record as it was written, whatever has become of the rows since; see [`long_tail_info`]."""
    description = getattr(getattr(dataset, "info", None), "description", None) or ""
    records = [json.loads(line) for line in re.findall(rf"^{MARKER} (.*)$", description, flags=re.MULTILINE)]
    # From the Hub every split comes with the one description of the card, in which all splits are recorded.
    own = [record for record in records if record.get("split") == str(getattr(dataset, "split", None))]
    return (own or records[:1] or [None])[0]


def seen_rows(dataset: Any) -> dict[str, Any]:
    """What [`write_record`] keeps of a dataset's rows, so that others in their place are noticed later."""
    indices = dataset._indices
    return {
        SEEN: {
            "labels": hashlib.sha256(label_array(dataset).astype("<i8").tobytes()).hexdigest(),
            "choice": None if indices is None else hashlib.sha256(indices.column(0).to_numpy().tobytes()).hexdigest(),
        }
    }


def long_tail_info(dataset: Any, *, hash_contents: bool = True) -> dict[str, Any] | None:
    """
    What a dataset made by [`load_long_tailed`] says about itself, compared with the rows that are there now.

    Args:
        dataset (`datasets.Dataset`): Also after select, shuffle, or a way through the disk, or the Hub with its card.
        hash_contents (`bool`, defaults to `True`): Whether images may be read for it; if not, `row_hash` is `None`
            where it would be of contents.

    Returns:
        `dict` or `None`: `version` (of the record's form), `source`, `split`, `imbalance_factor`, `imbalance_type`,
        `order_column`, `seed`, `validation_per_class`, `counts`, `class_names`, `row_hash` and `row_identity` (what
        was hashed). Where the rows are others than were recorded (select, filter, shuffle), `counts`, `row_hash` and
        `row_identity` are those of the rows now (see [`~hf_ltr.data.hash_rows`]), and `changed` says so in words; the
        rest is where the rows come from. The rows of a folder, or of a repository, have no identity but their
        contents, so that is what is hashed.
    """
    record = read_record(dataset)
    if record is None:
        return None
    info = {key: value for key, value in record.items() if key != SEEN}
    if "label" not in (getattr(dataset, "column_names", None) or ()) or not record.get("class_names"):
        return info
    try:
        labels = label_array(dataset)
    except ValueError:
        return info  # whoever counts them says what is wrong
    counts = np.bincount(labels[labels >= 0], minlength=len(record["class_names"])).tolist()
    changed = _changed(dataset, record, counts)
    if changed is not None:
        info |= {"counts": counts, "changed": changed}
    if changed is not None or record.get("row_hash") is None:
        info |= hash_rows(dataset)._asdict() if hash_contents else {"row_hash": None, "row_identity": None}
    return info


def position_hash(dataset: Any) -> str | None:
    """The hash that earlier versions recorded for rows of a folder: of their labels and places, not their contents."""
    return ((read_record(dataset) or {}).get(SEEN) or {}).get("position_hash")


def _changed(dataset: Any, record: dict[str, Any], counts: list[int]) -> str | None:
    """In words, how the rows differ from those of the record."""
    if counts != record["counts"]:
        fewer = all(a <= b for a, b in zip(counts, record["counts"], strict=False))
        kind = "a subset" if fewer and len(counts) == len(record["counts"]) else "other rows"
        return f"{kind} of the dataset that was recorded: {sum(counts):,} rows now, {sum(record['counts']):,} then"
    seen = record.get(SEEN)
    if seen is None:
        return None  # written by an earlier version, or through the Hub
    now = seen_rows(dataset)[SEEN]
    # What was saved and loaded again has no choice any more, and the rows that were chosen.
    if now["labels"] == seen["labels"] and now["choice"] in (None, seen["choice"]):
        return None
    return f"the dataset that was recorded in another order, or other rows of the same counts: {sum(counts):,} rows"


def check_class_order(dataset: Any, names: Sequence[str] | None = None) -> None:
    """
    Compare the class order of a dataset with its record (and with `names`).

    Raises:
        `ValueError`: where an index means another class: a prior, a group or a prediction in one order beside labels
            in another is silently wrong.
    """
    own = getattr((dataset.features or {}).get("label"), "names", None)
    if own is None:
        return
    record = read_record(dataset)
    names = None if names is None else [str(name) for name in names]
    for expected, whose, remedy in (
        (
            (record or {}).get("class_names"),
            "when it was made",
            " If the labels were renumbered with their names (align_labels_with_mapping does that, casting does not), "
            "clear dataset.info.description.",
        ),
        (names, "expected", ""),
    ):
        if expected is None or list(own) == list(expected):
            continue
        index = next(
            (i for i, (a, b) in enumerate(zip(own, expected, strict=False)) if a != b), min(len(own), len(expected))
        )
        raise ValueError(
            f"The classes of this dataset are in another order than {whose}: from class {index} on "
            f"({own[index : index + 3]} against {list(expected)[index : index + 3]}). Bring names and labels into "
            f"that order together.{remedy}"
        )


def explain_counts(dataset: Any) -> str | None:
    """In words, why the label column does not count what the record says; None where it does."""
    record = read_record(dataset)
    return None if record is None else _changed(dataset, record, list(class_counts(dataset).counts))


def dataset_card(data: Any) -> str:
    """
    README for a `DatasetDict` that is pushed to the Hub, with the record of each split and the counts per class.

    Args:
        data (`DatasetDict`): Made by [`load_long_tailed`].

    Returns:
        `str`: Markdown with the front matter of the Hub. Upload it after the data, because `push_to_hub` rewrites the
            README: `huggingface_hub.DatasetCard(dataset_card(data)).push_to_hub(repository)`.
    """
    import yaml

    records = [record for record in (long_tail_info(split) for split in data.values()) if record]
    metadata: dict[str, Any] = {"task_categories": ["image-classification"], "tags": ["long-tailed-recognition"]}
    if records:
        metadata["dataset_info"] = {"description": "\n".join(_line(record) for record in records)}
    lines = [
        "---",
        yaml.safe_dump(metadata, sort_keys=False, width=2**31).rstrip(),
        "---",
        "",
        "# Long-tailed dataset",
    ]
    for name, split in data.items():
        record = long_tail_info(split)
        counts = ClassCounts.of(class_counts(split))
        lines += ["", f"## {markdown(name)}", "", f"{counts.total:,} images, {len(counts)} classes."]
        if record:
            for key in ("source", "imbalance_factor", "imbalance_type", "order_column", "seed", "row_hash"):
                if record.get(key) is not None:
                    lines.append(f"- {key.replace('_', ' ')}: {markdown_code(public(record[key], key))}")
        classes = [[markdown(counts.name_of(index)), str(count)] for index, count in enumerate(counts)]
        lines += ["", markdown_table(["class", "images"], classes, align="lr", padded=False)]
    return "\n".join(lines) + "\n"
