"""What `hf-ltr check` found, in words and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .duplicates import Duplicates
from .image_check import ImageCheck
from .image_sources import describe_row, image_source


def report_lines(
    data: Mapping[str, Any], check: ImageCheck, duplicates: Duplicates | None, *, full: bool
) -> list[str]:
    """What was found, in words; `full` says that images were decoded."""
    parts = ", ".join(f"{split} {number:,}" for split, number in check.images.items())
    how = "decoded" if full else "headers read (--full reads them whole)"
    lines = [f"{check.total:,} images ({parts}), {how}"]
    lines += [f"damaged: {damage}" for damage in check.damaged]
    lines.append(f"{len(check.damaged):,} damaged" if check.damaged else "none damaged")
    lines += check.remarks
    if duplicates is None:
        return lines
    for (first, second), number in duplicates.between.items():
        example = next(group for group in duplicates.groups if {first, second} <= {split for split, _ in group})
        pair = [next(place for place in example if place[0] == split) for split in (first, second)]
        lines.append(f"duplicates: {number:,} of {second} also in {first}, such as {_places(pair, data)}")
    for split, number in duplicates.across_classes.items():
        lines.append(f"duplicates: {number:,} of {split} in more than one of its classes")
    for split, number in duplicates.repeated.items():
        lines.append(f"duplicates: {number:,} of {split} repeat another of the same class")
    return lines if duplicates.groups else [*lines, "no duplicates"]


def _places(places: list[tuple[str, int]], data: Any) -> str:
    return " = ".join(f"{split} {describe_row(row, image_source(data[split]).name(row))}" for split, row in places)


def report_content(dataset: str, check: ImageCheck, duplicates: Duplicates | None, *, full: bool) -> dict[str, Any]:
    """All that was found, as it is written to JSON."""
    content: dict[str, Any] = {
        "dataset": dataset,
        "full": full,
        "images": check.images,
        "damaged": [asdict(damage) for damage in check.damaged],
        "remarks": check.remarks,
    }
    if duplicates is not None:
        content["duplicates"] = {
            "compared": "pixels" if full else "bytes",
            "between": {f"{first}/{second}": number for (first, second), number in duplicates.between.items()},
            "across_classes": duplicates.across_classes,
            "repeated": duplicates.repeated,
            "groups": [[{"split": split, "row": row} for split, row in group] for group in duplicates.groups],
        }
    return content
