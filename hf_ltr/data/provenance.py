"""What a long-tailed dataset says about itself, compared with the rows that are there now."""

from __future__ import annotations

from typing import Any

import numpy as np

from .class_counts import class_counts
from .labels import column_labels
from .record import SEEN, read_record, seen_rows
from .row_identity import hash_rows


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
        labels = column_labels(dataset)
    except ValueError:
        return info  # whoever counts them says what is wrong
    counts = np.bincount(labels[labels >= 0], minlength=len(record["class_names"])).tolist()
    changed = _changed(dataset, record, counts)
    if changed is not None:
        info |= {"counts": counts, "changed": changed}
    if changed is not None or record.get("row_hash") is None:
        info |= hash_rows(dataset)._asdict() if hash_contents else {"row_hash": None, "row_identity": None}
    return info


def explain_counts(dataset: Any) -> str | None:
    """In words, why the label column does not count what the record says; None where it does."""
    record = read_record(dataset)
    return None if record is None else _changed(dataset, record, list(class_counts(dataset).counts))


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
