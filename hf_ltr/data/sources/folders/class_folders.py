"""Images whose class is the name of their folder, under folders for the splits or not."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, Image

from ....naming import some
from ..columns import numeric_order
from ..split_names import SplitChoice, assign_splits, is_split_word, known_splits, leave_out, meanings, words
from .scan import IMAGE_EXTENSIONS, Folder, Tree, could_be_image, lost_files, normal, warn_of_left_out

# Names of folders that hold a part of one collection, whatever is in it.
_CONTAINERS = frozenset(
    (
        "part",
        "parts",
        "images",
        "image",
        "imgs",
        "img",
        "photos",
        "photo",
        "pictures",
        "pics",
        "batch",
        "chunk",
        "shard",
    )
    + ("folder", "files", "data", "dataset", "raw", "jpg", "jpeg", "png", "all", "subset", "archive")
)
_FOLDERS_OPTION = "labels_from='folders'"


@dataclass(frozen=True)
class ClassFolders:
    """
    How the folders of a tree are read.

    Args:
        bases (`dict`): For each split the folders that hold its class folders.
        chosen (`dict`): The folders' own names for the splits; empty where there are no folders for splits.
    """

    tree: Tree
    bases: dict[str, list[Folder]]
    chosen: dict[str, list[str]]

    def class_of(self, folder: Folder) -> str | None:
        """The class of the images in a folder; None if it is no class folder."""
        for base in (base for own in self.bases.values() for base in own):
            if folder[: len(base)] == base != folder:
                return normal(folder[len(base)])
        return None


def single_class(tree: Tree) -> bool:
    """Whether all images lie in one folder, or in none."""
    return len(tree.images) < 2


def suspicion(tree: Tree) -> str | None:
    """Why the folders with images are hardly classes, in words that follow "because"; None if nothing says so."""
    base = _down(tree, ())
    tops = tree.names_in(base)
    if not tops or _deep(tree, base):
        return None
    named = [top for top in tops if meanings(top)]
    if len(named) == len(tops) or len({split for split in known_splits(named).values() if split}) > 1:
        return f"{some(named)} {'is the name of a split' if len(named) == 1 else 'are names of splits'}"
    stems = {re.sub(r"[\d\W_]+$", "", top.lower()) for top in tops}
    if len(stems) == 1 and set(words(next(iter(stems)))) & _CONTAINERS or all(_is_container(top) for top in tops):
        return f"{some(tops)} {'is' if len(tops) == 1 else 'are'} what a part of a collection is called, not a class"
    return None


def find_class_folders(
    tree: Tree, splits: SplitChoice | None = None, *, forced: bool = False, needs_train: bool = True
) -> ClassFolders:
    """
    Which folders are splits and which are classes.

    Args:
        splits (`dict`, *optional*): See [`~hf_ltr.data.sources.split_names.parse_splits`].
        forced (`bool`): The user says that folders are classes (`labels_from="folders"`).
        needs_train (`bool`): Whether there must be a training split.

    Raises:
        `FileNotFoundError`: without images in folders.
        `ValueError`: for folders without a single reading.
    """
    root, top = tree.root, _down(tree, ())
    tops = tree.names_in(top)
    if not tops:
        raise FileNotFoundError(_nothing_found(tree))
    deep = _deep(tree, top)
    if splits is None and not any(meanings(name) for name in deep):
        reason = None if forced else suspicion(tree)
        if reason is not None:
            raise ValueError(_no_classes(root.joinpath(*top), tops, reason))
        named = [name for name in tops if meanings(name)]
        if named:
            _warn(f"The folders {', '.join(named)} of {root} are taken for classes, not for splits.")
        return ClassFolders(tree, {"train": [top]}, {})
    where = root.joinpath(*top)
    # Others hold images without a class: left out, with a warning.
    candidates = tops if splits is not None else [name for name in tops if name in deep or meanings(name)]
    chosen = assign_splits(candidates, splits, where, needs_train=needs_train)
    _check_empty_splits(tree, top, tops)
    bases = {split: [_down(tree, (*top, name)) for name in names] for split, names in chosen.items()}
    for split, own in bases.items():
        flat = [base for base in own if not tree.below(base)]
        if flat and split == "train":
            raise ValueError(_no_classes(where, chosen["train"], "its images lie directly there"))
        if flat:
            raise unlabelled(where, split, chosen, f"images directly in {'/'.join(flat[0])}/, without class folders")
    return ClassFolders(tree, bases, chosen)


def _check_empty_splits(tree: Tree, top: Folder, tops: Collection[str]) -> None:
    """A split folder whose files all have other endings must not vanish."""
    for folder in tree.folders:
        if len(folder) == len(top) + 1 and is_split_word(folder[-1]) and folder[-1] not in tops:
            below = [key for key in tree.folders if key[: len(folder)] == folder]
            files = [file for key in below for file in tree.others.get(key, []) if could_be_image(file)]
            links = [link for key in below for link in tree.broken.get(key, [])]
            if files or links:
                raise lost_files(f"The folder {tree.path(folder)}", files, links)
            _warn(f"The folder {tree.path(folder)} has no image and becomes no split.")


def unlabelled(where: Any, split: str, chosen: SplitChoice, what: str) -> ValueError:
    """The error for a split other than training that comes without labels."""
    return ValueError(
        f"The {split} split of {where} has no labels: {what}. Leave it out with {leave_out(chosen, split)}"
        + ("; a part of the training images is held out for testing then" if split == "test" else "")
    )


def class_folder_splits(found: ClassFolders, only: Collection[str] | None = None) -> dict[str, Any]:
    """
    The splits, rows by class, then by file name; classes are those of all splits, numbers in numeric order.

    Raises:
        `ValueError`: for images in folders of folders, and for a class without an image.
        `FileNotFoundError`: without class folders.
    """
    tree, root = found.tree, found.tree.root
    classes = {split: _classes_below(tree, bases) for split, bases in found.bases.items()}
    names = sorted(set().union(*classes.values()))
    if not names:
        raise FileNotFoundError(_nothing_found(tree))
    for split, own in classes.items():
        if split != "train" and own and not set(own) & set(classes.get("train", own)):
            raise unlabelled(root, split, found.chosen, f"none of its folders ({some(own)}) is a class of training")
    _warn_of_the_rest(found, classes, names)
    ordered = numeric_order(names)
    if ordered != names:
        _warn(
            f"The class folders of {root} are numbers: they are put into numeric order ({', '.join(ordered[:4])}, "
            "...), where torchvision and the imagefolder of `datasets` sort them as strings "
            f"({', '.join(names[:4])}, ...). Lists made in that order do not fit, and checkpoints "
            "need the names of their classes."
        )
    return {split: _image_split(own, ordered) for split, own in classes.items() if only is None or split in only}


def _deep(tree: Tree, base: Folder) -> list[str]:
    """The folders in `base` that hold folders of images; but `<class>/images/` in every class is a class."""
    inside = tree.below(base)
    if _is_wrapped(inside, base):
        return []
    return sorted({folder[len(base)] for folder in inside if len(folder) > len(base) + 1})


def _is_wrapped(inside: Sequence[Folder], base: Folder) -> bool:
    below = {folder[len(base) + 1 :] for folder in inside}
    return len(below) == 1 and len(next(iter(below))) == 1 and _is_container(next(iter(below))[0])


def _down(tree: Tree, base: Folder) -> Folder:
    """Below `base` through folders that hold nothing but one folder of class folders: `dataset/`, `train/train/`."""
    while True:
        inside = tree.names_in(base)
        below = (*base, *inside)
        if len(inside) != 1 or below in tree.images:
            return base
        if not base and meanings(below[-1]) and not any(meanings(name) for name in tree.names_in(below)):
            return base  # `train/<class>/<image>` alone
        base = below


def _is_container(name: str) -> bool:
    own = words(name)
    return (
        bool(own)
        and own[0] in _CONTAINERS
        and all(word in _CONTAINERS or word.isdigit() or len(word) == 1 for word in own)
    )


def _no_classes(where: Path, tops: Sequence[str], reason: str) -> str:
    return (
        f"{where} has images directly in "
        f"{', '.join(f'{name}/' for name in tops[:5])}{', ...' if len(tops) > 5 else ''}, so they have no classes: "
        f"{reason} (expected {where}/<class>/<image>, or {where}/train/<class>/<image>). If a table says the labels, "
        "put it beside them and name it with labels_from=<file.csv>; if the folders are the classes, say so with "
        f"{_FOLDERS_OPTION}"
    )


def _classes_below(tree: Tree, bases: Sequence[Folder]) -> dict[str, list[str]]:
    """Image files by class name."""
    classes: dict[str, list[str]] = {}
    for base in bases:
        inside = tree.below(base)
        wrapped = _is_wrapped(inside, base)
        for folder in inside:
            names = tree.images[folder]
            if len(folder) > len(base) + 1 and not wrapped:
                root = tree.root
                raise ValueError(
                    f"{root.joinpath(*folder, names[0])} lies more than one folder below {root.joinpath(*base)}, so "
                    f"its class could be {folder[len(base)]!r} or {folder[-1]!r}. Images must lie directly in the "
                    "folder of their class; if these folders are splits, say which: splits='train=NAME,test=NAME'"
                )
            classes.setdefault(normal(folder[len(base)]), []).extend(tree.path(folder, file) for file in names)
    return classes


def _nothing_found(tree: Tree) -> str:
    root, images = tree.root, tree.images
    expected = f"expected {root}/<class>/<image> or {root}/train/<class>/<image>"
    if images:
        folder, names = next(iter(images.items()))
        return (
            f"{root} has images but no classes: {root.joinpath(*folder, names[0])} lies in no class folder "
            f"({expected}, or a table of labels beside the images: labels_from=<file.csv>)"
        )
    kinds = sorted({os.path.splitext(name)[1].lower() or name for names in tree.others.values() for name in names})
    return (
        f"{root} holds neither parquet files nor class folders with images ({expected}; images end in "
        f"{', '.join(IMAGE_EXTENSIONS)}). It holds {'files ending in ' + some(kinds) if kinds else 'no files'}."
    )


def _warn_of_the_rest(found: ClassFolders, classes: Mapping[str, Mapping[str, Any]], names: Collection[str]) -> None:
    """Say what is left out, and refuse a class that has lost all its images or never had one."""
    tree, root = found.tree, found.tree.root
    others: dict[str, list[str]] = {}
    broken: dict[str, list[str]] = {}
    documents: list[str] = []
    for split, bases in found.bases.items():
        for folder in sorted(tree.folders):
            if not folder or folder[:-1] not in bases:
                continue
            name = normal(folder[-1])
            files, links = tree.others.get(folder, []), tree.broken.get(folder, [])
            others.setdefault(name, []).extend(files)
            broken.setdefault(name, []).extend(os.path.join(*folder, link) for link in links)
            lost = [file for file in files if could_be_image(file)]
            if name in classes[split] or (name in names and not lost and not links):
                continue
            if files and not lost and not links:
                documents.append("/".join(folder))
                continue
            raise lost_files(f"The class {name!r} of {root} ({split})", lost, links)
    if documents:
        _warn(f"{root} has folders without an image, which become no class: {some(documents)}.")
    warn_of_left_out(root, {name: files for name, files in others.items() if name in names}, broken)
    away = {folder: files for folder, files in tree.images.items() if found.class_of(folder) is None}
    if found.chosen:
        # Splits that the user did not choose are no surprise.
        size = len(_down(tree, ()))
        used = {name for own in found.chosen.values() for name in own}
        away = {
            folder: files
            for folder, files in away.items()
            if len(folder) <= size or folder[size] in used or (len(folder) == size + 1 and not meanings(folder[size]))
        }
    number = sum(map(len, away.values()))
    if number:
        folder, files = next(iter(away.items()))
        example = os.path.join(*folder, files[0])
        _warn(f"{number} images of {root} lie in no class folder and are left out, such as {example}.")
    without = sorted(set(names) - set(classes.get("train", names)))
    if without:
        missing = "1 class" if len(without) == 1 else f"{len(without)} classes"
        _warn(f"{root} has no training image of {missing} that its other splits have: {some(without)}.")


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=6)


def _image_split(classes: Mapping[str, list[str]], names: list[str]) -> Any:
    """
    `datasets`' own imagefolder reads every file at every start (0.9 ms each: minutes for a large set) and sorts
    numbers as strings.
    """
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        paths += classes.get(name, [])
        labels += [label] * len(classes.get(name, []))
    features = Features({"image": Image(), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"image": paths, "label": labels}, features=features)
