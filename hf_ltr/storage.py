"""A full disk, a quota or a file system that cannot be written, named as such whoever ran into it."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system cannot be written to (it is mounted read-only)",
}
_NUMBER = re.compile(r"\bos error (\d+)\b|\[Errno (\d+)\]|\berrno:? (\d+)\b", re.IGNORECASE)
_PROBE_BYTES = 2**16


class StorageError(OSError):
    """Nothing more can be written; `errno` says why."""


def storage_error(error: BaseException, folder: str | Path | None = None) -> StorageError | None:
    """
    What to raise in the place of an error that says, in whatever words, that nothing can be written.

    Args:
        error (`BaseException`): torch raises a `RuntimeError` ("unexpected pos"), safetensors and Arrow quote the
            number of the system's error, others raise `OSError`; also looked for in what caused it.
        folder (`str`, *optional*): Where it was being written, for errors that do not name a file; tried with a small
            file where the error says nothing.

    Returns:
        [`StorageError`] or `None` for an error of another kind.
    """
    place = folder
    number = None
    seen: BaseException | None = error
    while seen is not None and number is None:
        if isinstance(seen, StorageError):
            return seen
        number = _number_of(seen)
        if number is not None and isinstance(seen, OSError) and seen.filename:
            place = seen.filename
        seen = seen.__cause__ or seen.__context__
    if number is None and folder is not None and isinstance(error, RuntimeError):
        number = _try_to_write(Path(folder))
    if number is None:
        return None
    what = f"{_WORDS[number]}: {place} could not be written" if place is not None else _WORDS[number]
    result = StorageError(
        f"{what[0].upper()}{what[1:]}{_free(place)}. What was finished before is kept; when there is room, the same "
        "command continues."
    )
    result.errno = number
    return result


@contextmanager
def naming_storage_errors(folder: str | Path) -> Iterator[None]:
    """Inside, writing that fails for want of room raises [`StorageError`] with the path."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        found = storage_error(error, folder)
        if found is None:
            raise
        raise found from error


def _number_of(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno in _WORDS:
        return error.errno
    text = str(error)
    for match in _NUMBER.finditer(text):
        number = int(next(filter(None, match.groups())))
        if number in _WORDS:
            return number
    return next((number for number in _WORDS if os.strerror(number) in text), None)


def _try_to_write(folder: Path) -> int | None:
    """Why a small file cannot be written to a folder, if it cannot."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    probe = folder / f".probe.{os.getpid()}.tmp"
    try:
        probe.write_bytes(bytes(_PROBE_BYTES))
    except OSError as error:
        return error.errno if error.errno in _WORDS else None
    finally:
        try:
            probe.unlink(missing_ok=True)
        except OSError:
            pass
    return None


def _free(place: str | Path | None) -> str:
    if place is None:
        return ""
    path = Path(os.fsdecode(place))
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return f" ({shutil.disk_usage(path).free / 2**20:,.1f} MiB are free)"
    except OSError:
        return ""
