"""What lies in a folder: images, other files, links that lead nowhere; nothing is opened. What is not used is said."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ....naming import some

IMAGE_EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".jp2", ".avif"),
)
# What systems and archives leave behind. Hidden files and folders are left out too.
_JUNK_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))
_JUNK_FOLDERS = frozenset(
    ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__")
)
# Beside images for good reasons. A class folder that holds nothing else has no image, but has lost none either.
_NO_IMAGES = frozenset(
    (".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".htm", ".pdf", ".py")
    + (".ipynb", ".npy", ".npz", ".mat", ".zip", ".tar", ".gz", ".log", ".db", ".ini", ".parquet", ".xlsx", ".docx")
)

# Parts of a folder's path below the root.
Folder = tuple[str, ...]


@dataclass(frozen=True)
class Tree:
    """
    The files below `root`, by folder, each sorted by name.

    Args:
        images (`dict`): Files with the ending of an image.
        others (`dict`): All other files.
        broken (`dict`): Links to files that are not there.
        folders (`set`): All folders, empty ones too.
    """

    root: Path
    images: dict[Folder, list[str]] = field(default_factory=dict)
    others: dict[Folder, list[str]] = field(default_factory=dict)
    broken: dict[Folder, list[str]] = field(default_factory=dict)
    folders: set[Folder] = field(default_factory=set)

    def path(self, folder: Folder, name: str = "") -> str:
        """The file, or the folder, on disk."""
        return os.path.join(self.root, *folder, *([name] if name else []))

    def only(self, files: Collection[str]) -> Tree:
        """The same with no other files than these, given relative to the root, and their folders."""
        images, others, broken = (
            {
                folder: own
                for folder, names in part.items()
                if (own := [n for n in names if "/".join((*folder, n)) in files])
            }
            for part in (self.images, self.others, self.broken)
        )
        return Tree(self.root, images, others, broken, {*images, *others, *broken})

    def below(self, base: Folder) -> list[Folder]:
        """The folders with images below `base`, itself not among them."""
        return [folder for folder in self.images if folder[: len(base)] == base != folder]

    def names_in(self, base: Folder) -> list[str]:
        """The names of the folders in `base` that have images in them or further below."""
        return sorted({folder[len(base)] for folder in self.below(base)})


def scan(root: Path) -> Tree:
    """
    All files but hidden ones, through links to folders; a link to a folder above itself is not followed.

    Raises:
        `PermissionError`: for a folder that cannot be read.
        `ValueError`: for a name that is no UTF-8, which no dataset can hold.
    """
    tree = Tree(root)
    waiting: list[Folder] = [()]
    while waiting:
        folder = waiting.pop()
        tree.folders.add(folder)
        here = tree.path(folder)
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except PermissionError as error:
            raise PermissionError(f"The folder {here} cannot be read: {error.strerror}") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not _is_text(entry.name):
                raise ValueError(
                    f"The name {os.fsencode(entry.name)!r} in {here} is not UTF-8; rename it (convmv does)"
                )
            if _is_folder(entry):
                if entry.name.lower() not in _JUNK_FOLDERS and not (
                    entry.is_symlink() and _leads_up(entry.path, here)
                ):
                    waiting.append((*folder, entry.name))
            elif entry.is_symlink() and not os.path.exists(entry.path):
                tree.broken.setdefault(folder, []).append(entry.name)
            elif entry.name.lower().endswith(IMAGE_EXTENSIONS) and entry.is_file():
                tree.images.setdefault(folder, []).append(entry.name)
            elif entry.name.lower() not in _JUNK_FILES:
                tree.others.setdefault(folder, []).append(entry.name)
    for files in (tree.images, tree.others, tree.broken):
        for folder in sorted(files):  # folders in their order too, whatever order they were visited in
            files[folder] = files.pop(folder)
    return tree


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def normal(name: str) -> str:
    """A name in one Unicode form: macOS decomposes accents, Linux does not."""
    return unicodedata.normalize("NFC", name)


def ending(name: str) -> str:
    """`.jpg`; empty for a name without."""
    return os.path.splitext(name)[1].lower()


def _leads_up(link: str, here: str) -> bool:
    target = os.path.realpath(link)
    return os.path.commonpath([target, os.path.realpath(here)]) == target


def endings(files: Iterable[str]) -> str:
    """`.heic 3, without ending 1`, most frequent first."""
    counts = Counter(ending(file) or "without ending" for file in files)
    return some(f"{kind} {number}" for kind, number in counts.most_common())


def could_be_image(file: str) -> bool:
    """Whether the ending of a file leaves open that it is a picture."""
    return ending(file) not in _NO_IMAGES


def warn_of_left_out(root: Path, others: Mapping[str, list[str]], broken: Mapping[str, list[str]]) -> None:
    """
    One warning for the files of classes that are no images to this package: `others` with another ending, and `broken`
    links to files that are not there, both by class.
    """
    parts = []
    files = [file for own in others.values() for file in own]
    if files:
        parts.append(f"{len(files)} with endings that are none of an image ({endings(files)}; {_by_class(others)})")
    links = sum(map(len, broken.values()))
    if links:
        example = next(file for own in broken.values() for file in own)
        parts.append(f"{links} links to files that are not there (such as {example}; {_by_class(broken)})")
    if parts:
        warnings.warn(f"Files of {root} are left out: {' and '.join(parts)}.", stacklevel=7)


def lost_files(what: str, files: Iterable[str], broken: Iterable[str]) -> ValueError:
    """The error for a class or a folder none of whose files can be used."""
    files, broken = list(files), list(broken)
    found = [f"{len(files)} files with endings that are none of an image ({endings(files)})"] if files else []
    found += [f"{len(broken)} links to files that are not there"] if broken else []
    return ValueError(
        f"{what} has {' and '.join(found) + ', but ' if found else ''}no image. Convert or rename its files (images "
        "end in .jpg, .png, .webp, .tif, ...) or add some; a folder that is to be left out may be moved away, or get "
        "a name that starts with a dot"
    )


def _by_class(files: Mapping[str, list[str]]) -> str:
    return some(f"{name} {len(own)}" for name, own in sorted(files.items()) if own)
