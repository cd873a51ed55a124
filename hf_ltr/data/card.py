"""The README of a long-tailed dataset on the Hub."""

from __future__ import annotations

from typing import Any

import yaml

from ..markup import markdown, markdown_code, markdown_table
from ..redaction import public
from .class_counts import class_counts
from .provenance import long_tail_info
from .record import record_line


def dataset_card(data: Any) -> str:
    """
    README for a `DatasetDict` that is pushed to the Hub, with the record of each split and the counts per class.

    Args:
        data (`DatasetDict`): Made by [`load_long_tailed`].

    Returns:
        `str`: Markdown with the front matter of the Hub. Upload it after the data, because `push_to_hub` rewrites the
            README: `huggingface_hub.DatasetCard(dataset_card(data)).push_to_hub(repository)`.
    """
    records = {name: long_tail_info(split) for name, split in data.items()}
    written = "\n".join(record_line(record) for record in records.values() if record)
    metadata: dict[str, Any] = {"task_categories": ["image-classification"], "tags": ["long-tailed-recognition"]}
    if written:
        metadata["dataset_info"] = {"description": written}
    lines = [
        "---",
        yaml.safe_dump(metadata, sort_keys=False, width=2**31).rstrip(),
        "---",
        "",
        "# Long-tailed dataset",
    ]
    for name, split in data.items():
        record, counts = records[name], class_counts(split)
        lines += ["", f"## {markdown(name)}", "", f"{counts.total:,} images, {len(counts)} classes."]
        if record:
            for key in ("source", "imbalance_factor", "imbalance_type", "order_column", "seed", "row_hash"):
                if record.get(key) is not None:
                    lines.append(f"- {key.replace('_', ' ')}: {markdown_code(public(record[key], key))}")
        classes = [[markdown(counts.name_of(index)), str(count)] for index, count in enumerate(counts)]
        lines += ["", markdown_table(["class", "images"], classes, align="lr", padded=False)]
    return "\n".join(lines) + "\n"
