"""
The record a long-tailed dataset carries about itself.

`datasets` keeps no free-form metadata of its own, but `info.description` survives select, shuffle, map, save_to_disk
and the Arrow files; so the record is one JSON line in it, behind a marker, and the text in front of it stays the
user's. A push to the Hub drops the description (`push_to_hub` keeps the features only), but `load_dataset` reads one
from the `dataset_info` of the README: [`dataset_card`] puts the records there. So push the data first and the card
after it.

The record is provenance, and `provenance.py` compares it with the rows that are there: of a subset it reports the
subset. What training counts is the label column itself (see [`class_counts`]).
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from .labels import column_labels

MARKER = "hf_ltr-long-tail:"
POSITION_IDENTITY = "(label, row of the source split)"
# What tells whether the rows are still those of the record; nobody else's business.
SEEN = "_seen"


def write_record(dataset: Any, record: dict[str, Any]) -> Any:
    """A dataset of the same rows whose info carries `record`; the given one is left alone."""
    dataset = copy.copy(dataset)
    dataset._info = copy.deepcopy(dataset._info)
    text = (dataset._info.description or "").split(MARKER)[0].rstrip()
    dataset._info.description = f"{text}\n{record_line(record)}".lstrip()
    return dataset


def record_line(record: dict[str, Any]) -> str:
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
            "labels": hashlib.sha256(column_labels(dataset).astype("<i8").tobytes()).hexdigest(),
            "choice": None if indices is None else hashlib.sha256(indices.column(0).to_numpy().tobytes()).hexdigest(),
        }
    }


def position_hash(dataset: Any) -> str | None:
    """The hash that earlier versions recorded for rows of a folder: of their labels and places, not their contents."""
    return ((read_record(dataset) or {}).get(SEEN) or {}).get("position_hash")


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
