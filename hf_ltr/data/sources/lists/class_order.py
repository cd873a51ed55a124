"""
Proof that labels mean the classes they are taken for.

A list in one class order beside class counts, priors or groups in another is silently wrong: iNaturalist's folders
sorted as strings are 0, 1, 10, 100, ..., which is not category order. In all of these benchmarks an image lies in the
folder of its class, so the paths say what the labels must be.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...class_counts import ClassCounts
from ...labels import outside
from .list_rows import Rows

_MOST_NAMED = 5


def class_names(
    splits: Mapping[str, Rows], class_of_folder: Callable[[str], str | None], label_of_class: Callable[[str], int]
) -> list[str]:
    """
    The class of every label, read from the folders of the images, and proved.

    Args:
        splits (`dict[str, Rows]`): Training first.
        class_of_folder (`Callable`): The class that a folder stands for; None for a folder that holds all classes.
        label_of_class (`Callable`): The label a class must have, or -1 where its name does not say it.

    Returns:
        `list[str]`: One name per label, `0 .. highest label of any split`; the label itself where no folder tells.

    Raises:
        `ValueError`: for a folder with two labels, a label with two classes, a class whose label is not the one it
            must have, or a training folder that tells no class in a list that is not the published one.
    """
    label_of: dict[str, tuple[int, str]] = {}
    class_of: dict[int, str] = {}
    for split, rows in splits.items():
        for folder, label in _pairs(rows):
            name = class_of_folder(folder.rstrip("/"))
            if name is None:
                if split == "train" and not rows.official:
                    raise ValueError(
                        f"The class order of {rows.file} cannot be proved: images with label {label} lie in "
                        f"{folder or 'no folder'}, which is not named after their class"
                    )
                continue
            known, where = label_of.setdefault(name, (label, f"{rows.file}, {folder}"))
            if known != label:
                raise ValueError(
                    f"One class with two labels: {name} is {known} in {where} and {label} in {rows.file}, {folder}. "
                    "Labels and classes must agree in all lists."
                )
            if class_of.setdefault(label, name) != name:
                raise ValueError(
                    f"One label with two classes: {label} is {class_of[label]} in {label_of[class_of[label]][1]} and "
                    f"{name} in {rows.file}, {folder}. Labels and classes must agree in all lists."
                )
    wrong = {name: (label, want) for name, (label, _) in label_of.items() if (want := label_of_class(name)) != label}
    wrong = {name: pair for name, pair in wrong.items() if pair[1] >= 0}
    if wrong:
        first = itertools.islice(wrong.items(), _MOST_NAMED)
        shown = ", ".join(f"{name} has label {label}, not {want}" for name, (label, want) in first)
        raise ValueError(
            f"The labels of {next(iter(splits.values())).file} are in another class order: {shown} "
            f"({len(wrong)} classes). Numbers sorted as strings (0, 1, 10, 100, ...)? Class counts, groups and priors "
            "in category order would be silently wrong beside them."
        )
    highest = max(int(rows.labels.max()) for rows in splits.values())
    return [class_of.get(label, str(label)) for label in range(highest + 1)]


def _pairs(rows: Rows) -> list[tuple[str, int]]:
    """The different (folder, label) of a split, sorted by label."""
    number = len(rows.folders)
    keys = np.unique(rows.labels * number + rows.folder_of_row)
    return [(rows.folders[key % number], key // number) for key in keys.tolist()]


def require_labels(rows: Rows, num_classes: int, what: str) -> None:
    """Refuse a label outside 0 .. num_classes - 1, with its row."""
    wrong = outside(rows.labels, num_classes)
    if wrong is not None:
        raise ValueError(
            f"{rows.file}, row {wrong.row + 1} ({rows.path(wrong.row)}): label {wrong.label}, but {what} has the "
            f"classes 0..{num_classes - 1} ({wrong.number:,} such rows)"
        )


def require_sorted(names: list[str], what: str) -> None:
    """Refuse a label order that is not the sorted order of the class names (labels without a name stand aside)."""
    named = [(label, name) for label, name in enumerate(names) if name != str(label)]
    for (label, name), expected in zip(named, sorted(name for _, name in named), strict=True):
        if name != expected:
            raise ValueError(
                f"The labels of {what} are in another class order: label {label} is {name}, but the classes sorted by "
                f"name have {expected} there. Class counts, groups and priors would be silently wrong beside them."
            )


def require_counts(rows: Rows, expected: ClassCounts, what: str) -> None:
    """
    Refuse other rows per class than `expected`; a class order of the list that is not that of the counts shows here,
    too.
    """
    require_labels(rows, len(expected), what)
    counts = np.bincount(rows.labels, minlength=len(expected))
    different = np.flatnonzero(counts != np.asarray(expected.counts))
    if len(different):
        shown = ", ".join(f"class {i}: {counts[i]} and not {expected[i]}" for i in different[:_MOST_NAMED].tolist())
        order = sorted(counts.tolist()) == sorted(expected.counts)
        raise ValueError(
            f"{rows.file} does not have the rows per class of {what}: {shown} ({len(different)} of {len(expected)} "
            f"classes differ; {len(rows):,} rows and not {expected.total:,})."
            + (" The same counts occur in another order: the classes are numbered differently." if order else "")
        )


def require_distinct(splits: Mapping[str, Rows]) -> None:
    """Refuse an image that is listed twice, in one split or in two."""
    names = pa.chunked_array([rows.names for rows in splits.values()])
    if pc.count_distinct(names).as_py() == len(names):
        return
    paths = {split: rows.paths() for split, rows in splits.items()}
    everything = pa.concat_arrays(list(paths.values()))
    if pc.count_distinct(everything).as_py() == len(everything):
        return
    counted = pc.value_counts(everything)
    counts = counted.field("counts").to_numpy()
    twice = counted.field("values").filter(pa.array(counts > 1))
    where = [
        f"{rows.file}, row {row + 1}"
        for split, rows in splits.items()
        for row in np.flatnonzero(pc.equal(paths[split], twice[0]).to_numpy(zero_copy_only=False)).tolist()
    ]
    raise ValueError(
        f"{len(twice):,} images are listed more than once, such as {twice[0].as_py()}: {'; '.join(where)}. An image "
        "may have one row in one split."
    )
