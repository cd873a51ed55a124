"""
What there is to know of ImageNet-LT, Places-LT and iNaturalist 2018, which are read from the user's own copies.

Roles of the splits, as the published protocols use them:

| dataset | train | validation | test |
|---|---|---|---|
| imagenet_lt | 115,846 (1,280 to 5 per class) | 20,000 (20 per class) | 50,000 (50: ImageNet's validation set) |
| places_lt | 62,500 (4,980 to 5) | 7,300 (20) | 36,500 (100: Places365's validation set) |
| inat18 | 437,513 (1,000 to 2) | none | 24,426 (3: its validation set, on which the papers report) |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# Patterns and replacements of `re`, applied one after the other to the folders of a list (with `/` at their end).
Layout = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ListedDataset:
    """
    What there is to know about one of these datasets.

    Args:
        name (`str`): Registry name.
        lists (`dict[str, tuple[str, ...]]`): Official lists of each split, the preferred one first.
        folders (`tuple[str, ...]`): Folders beside the images where lists are looked for.
        class_of_folder (`Callable`): The class that a folder of a list stands for, None if it holds many.
        images (`str`): What `data_dir` must hold, and where it is from.
        layouts (`tuple[Layout, ...]`): Other places of the same images, as rewritings of the list's paths.
        label_of_class (`Callable`): The label that a class name requires, -1 if the name does not say it.
        sorted_classes (`bool`): Label order is the sorted order of the class names.
        annotations (`dict[str, str]`): JSON files that say the same as the lists.
    """

    name: str
    lists: dict[str, tuple[str, ...]]
    folders: tuple[str, ...]
    class_of_folder: Callable[[str], str | None]
    images: str
    layouts: tuple[Layout, ...] = ()
    label_of_class: Callable[[str], int] = field(default=lambda name: -1)
    sorted_classes: bool = False
    annotations: dict[str, str] = field(default_factory=dict)


def _imagenet_class(folder: str) -> str | None:
    last = folder.rpartition("/")[2]
    return last if re.fullmatch(r"n\d{8}", last) else None


def _places_class(folder: str) -> str | None:
    """`train/forest-broadleaf` of the first lists and `data_256/f/forest/broadleaf` of the second are one class."""
    first, _, rest = folder.partition("/")
    if first.startswith("data_"):
        rest = rest.partition("/")[2].replace("/", "-")
    return rest or None


def _category(folder: str) -> str | None:
    last = folder.rpartition("/")[2]
    return last if last.isdecimal() else None


_PLACES_STANDARD = [(r"^train/(.)", r"data_256/\1/\1"), ("-", "/"), (r"^val/.*/", "val_256/")]
LISTED = {
    "imagenet_lt": ListedDataset(
        "imagenet_lt",
        {
            "train": ("ImageNet_LT_train",),
            "validation": ("ImageNet_LT_val",),
            "test": ("ImageNet_LT_test",),
        },
        ("ImageNet_LT",),
        _imagenet_class,
        "data_dir must hold ImageNet (ILSVRC 2012, https://image-net.org): train/<wnid>/*.JPEG, and the validation "
        "images in val/<wnid>/ or all in val/.",
        layouts=([(r"^val/n\d+/", "val/")],),
        sorted_classes=True,
    ),
    "places_lt": ListedDataset(
        "places_lt",
        {
            "train": ("Places_LT_train", "Places_LT_v2_train"),
            "validation": ("Places_LT_val", "Places_LT_v2_val"),
            "test": ("Places_LT_test", "Places_LT_v2_test"),
        },
        ("Places_LT", "Places_LT_v2"),
        _places_class,
        "data_dir must hold Places365 (http://places2.csail.mit.edu/download.html): train/<place>/*.jpg and "
        "val/<place>/*.jpg, or data_256/<letter>/<place>/ and val_256/ of the small images, or data_large/ and "
        "val_large/.",
        layouts=(
            _PLACES_STANDARD,
            [*_PLACES_STANDARD, (r"^(data|val)_256/", r"\1_large/")],
            [(r"^(data|val)_256/", r"\1_large/")],
            [(r"^val/.*/", "val/")],
        ),
    ),
    "inat18": ListedDataset(
        "inat18",
        {"train": ("iNaturalist18_train",), "test": ("iNaturalist18_val",)},
        ("iNaturalist18",),
        _category,
        "data_dir must hold iNaturalist 2018 (https://github.com/visipedia/inat_comp/tree/master/2018): "
        "train_val2018/<kingdom>/<category number>/*.jpg.",
        layouts=([("^train_val2018/", "")],),
        label_of_class=int,
        annotations={"train": "train2018.json", "test": "val2018.json"},
    ),
}
