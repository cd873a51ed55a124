"""Files of a folder that are not used: said once, in numbers, and an error where a class loses all of them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from .scan import ending

_MOST_NAMED = 10
# Beside images for good reasons. A class folder that holds nothing else has no image, but has lost none either.
_NO_IMAGES = frozenset(
    (".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".htm", ".pdf", ".py")
    + (".ipynb", ".npy", ".npz", ".mat", ".zip", ".tar", ".gz", ".log", ".db", ".ini", ".parquet", ".xlsx", ".docx")
)


def some(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def endings(files: Iterable[str]) -> str:
    """`.heic 3, without ending 1`, most frequent first."""
    counts = Counter(ending(file) or "without ending" for file in files)
    return some(f"{kind} {number}" for kind, number in counts.most_common())


def could_be_image(file: str) -> bool:
    """Whether the ending of a file leaves open that it is a picture."""
    return ending(file) not in _NO_IMAGES


def say_left_out(root: Path, others: Mapping[str, list[str]], broken: Mapping[str, list[str]]) -> None:
    """
    One warning for the files of classes that are no images to this package.

    Args:
        root (`Path`)
        others (`dict`): Files with other endings, by class.
        broken (`dict`): Links to files that are not there, by class.
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
