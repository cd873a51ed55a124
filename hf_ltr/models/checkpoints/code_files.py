"""
The code of a model beside its checkpoint, for readers without this package (`register_for_auto_class`).

transformers copies the file that defines a class and what it imports from the same folder. The files of this package
lie in many folders: here each file is followed through all its relative imports, and all of them are written side by
side, with import lines that say so.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.utils import PushToHubMixin

_DOTTED = re.compile(r"\.+[\w.]*")


class SavesCode(PushToHubMixin):
    """
    Adds the code to what `save_pretrained` writes, if the class was registered with `register_for_auto_class`; list it
    before the class of transformers (a model, a config or an image processor) among the bases.
    """

    _auto_class: str | None = None
    _wrote_code = False

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; files of code lie in the folder itself, whatever folders they come from."""
        cls = type(self)
        save = super().save_pretrained
        if cls._auto_class is None:
            return save(save_directory, *args, **kwargs)
        described: Any = getattr(self, "config", self)
        reference = f"{cls.__module__.rsplit('.', 1)[-1]}.{cls.__name__}"
        described.auto_map = {**(getattr(described, "auto_map", None) or {}), cls._auto_class: reference}
        if kwargs.get("is_main_process", True):
            write_code(cls, save_directory)
        with _instead_of_copying(cls):
            return save(save_directory, *args, **kwargs)

    def _get_files_timestamps(self, working_dir: str | os.PathLike) -> dict[str, float]:
        # What is not newer than this is not pushed; the code has just been written.
        times = super()._get_files_timestamps(working_dir)
        return {name: time for name, time in times.items() if not (self._wrote_code and name.endswith(".py"))}


def write_code(cls: type, folder: str | os.PathLike) -> list[Path]:
    """
    Write the file that defines `cls`, and all files that it needs by relative imports, into one folder.

    Returns:
        `list[Path]`: the files written.

    Raises:
        `ValueError`: if two of the files have the same name, or an import names no file.
    """
    defining = sys.modules[cls.__module__].__file__
    assert defining is not None, f"{cls} was not defined in a file"
    sources = {Path(defining).name: Path(defining)}
    texts: dict[str, str] = {}
    while waiting := sources.keys() - texts.keys():
        for name in sorted(waiting):
            texts[name], needed = _flattened(sources[name])
            for file in needed:
                if sources.setdefault(file.name, file) != file:
                    raise ValueError(f"{file} and {sources[file.name]} cannot lie in one folder: rename one of them")
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in sorted(texts.items()):
        (Path(folder) / name).write_text(text, encoding="utf-8")
    return [Path(folder) / name for name in sorted(texts)]


def _flattened(file: Path) -> tuple[str, list[Path]]:
    """The text of a file with all relative imports from its own folder, and the files that they mean."""
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    needed = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.level:
            source = _imported_file(file, node)
            needed.append(source)
            line = lines[node.lineno - 1]
            lines[node.lineno - 1] = line[: node.col_offset] + _DOTTED.sub(
                f".{source.stem}", line[node.col_offset :], count=1
            )
    return "".join(lines), needed


def _imported_file(file: Path, node: ast.ImportFrom) -> Path:
    folder = file.parents[node.level - 1]
    source = folder.joinpath(*(node.module or "").split(".")).with_suffix(".py")
    if not node.module or not source.is_file():
        raise ValueError(f"line {node.lineno} of {file} imports no file by name; a checkpoint cannot carry that")
    return source


@contextmanager
def _instead_of_copying(cls: type[SavesCode]) -> Iterator[None]:
    """Where transformers looks, the class is not registered: it would copy files by its own rules."""
    auto_class, cls._auto_class, cls._wrote_code = cls._auto_class, None, True
    try:
        yield
    finally:
        cls._auto_class, cls._wrote_code = auto_class, False
