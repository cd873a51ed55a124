"""`hf-ltr check`: damaged images and duplicates of a dataset."""

from __future__ import annotations

import argparse
from typing import Any

HELP = "find damaged images of a dataset, and images that its splits share"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    from ..recipe.recipe import add_data_arguments

    parser.epilog = "The status is 1 where an image is damaged. Training does not read again what is in order here."
    parser.add_argument("dataset", help="a name of `hf-ltr list datasets`, a Hub id or a folder")
    parser.add_argument("--full", action="store_true", help="decode every image, in the place of its header alone")
    parser.add_argument("--output", help="write everything that was found to this JSON file")
    parser.add_argument("--no_duplicates", action="store_true", help="do not compare images with each other")
    parser.add_argument("--workers", type=int, help="threads (8 for headers, one per core with --full)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_data_arguments(parser.add_argument_group("data", "as in the recipes"), without=("dataset", "group_scheme"))


def run(options: argparse.Namespace) -> int:
    """Check, print what was found, and return the exit status."""
    from ..data.labels import stored_labels
    from ..data.loading.duplicates import DuplicateFinder
    from ..data.loading.image_check import check_images
    from ..recipe.recipe import DataOptions, given_data_options

    if options.workers is not None and options.workers < 1:
        raise ValueError(f"workers must be at least 1, got {options.workers}")
    data = DataOptions(**given_data_options(options)).load()
    finder = None if options.no_duplicates else DuplicateFinder(data)
    check = check_images(data, full=options.full, workers=options.workers, progress=not options.quiet, visit=finder)
    check.remember()
    duplicates = None if finder is None else finder.find({split: stored_labels(part) for split, part in data.items()})
    if options.output:
        from ..files import write_json

        write_json(options.output, _content(options, data, check, duplicates))
    print("\n".join(_lines(options, data, check, duplicates)))
    return 1 if check.damaged else 0


def _lines(options: argparse.Namespace, data: Any, check: Any, duplicates: Any) -> list[str]:
    parts = ", ".join(f"{split} {number:,}" for split, number in check.images.items())
    how = "decoded" if options.full else "headers read (--full reads them whole)"
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
    from ..data.loading.image_sources import describe_row, image_source

    return " = ".join(f"{split} {describe_row(row, image_source(data[split]).name(row))}" for split, row in places)


def _content(options: argparse.Namespace, data: Any, check: Any, duplicates: Any) -> dict[str, Any]:
    from dataclasses import asdict

    content = {
        "dataset": options.dataset,
        "full": options.full,
        "images": check.images,
        "damaged": [asdict(damage) for damage in check.damaged],
        "remarks": check.remarks,
    }
    if duplicates is not None:
        content["duplicates"] = {
            "compared": "pixels" if options.full else "bytes",
            "between": {f"{first}/{second}": number for (first, second), number in duplicates.between.items()},
            "across_classes": duplicates.across_classes,
            "repeated": duplicates.repeated,
            "groups": [[{"split": split, "row": row} for split, row in group] for group in duplicates.groups],
        }
    return content
