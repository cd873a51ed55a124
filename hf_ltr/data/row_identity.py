"""Which rows a dataset really has: a hash of their labels and images, in order, as they are now."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch

from .stored_rows import StoredRows, stored_rows

# Up to this many bytes of images in all, every byte is hashed: a few seconds. Photographs by the hundred thousand are
# told apart by their sizes and three pieces of each.
WHOLE_BYTES = 2**30
_PIECE = 4096
_READERS, _SHARE = 16, 256
_WHOLE, _PIECES = "encoded image", f"size and {3 * _PIECE // 1024} KiB of the encoded image"


class HashedRows(NamedTuple):
    """
    Args:
        row_hash (`str`): sha256, hexadecimal; of the order of the rows too.
        row_identity (`str`): What was hashed of each row.
    """

    row_hash: str
    row_identity: str


_known: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def hash_rows(dataset: Any) -> HashedRows:
    """
    Hash the rows that a dataset has after whatever select, shuffle or filter: labels and images, in order.

    The hash is of contents and never of places: the same images in another folder, on another machine, or packed into
    Parquet give the same one. Images are hashed byte by byte while all of them have at most 1 GiB (encoded, as they
    are stored); of larger sets each image gives its size in bytes and 4 KiB from its start, middle and end.

    A map-style dataset is read where its rows are stored, never through `__getitem__`, which may augment them: of a
    `Subset`, a `ConcatDataset`, a `TensorDataset`, a list, a dict of arrays, or a dataset with `samples` (paths) or
    `data` the images are hashed; of any other the labels alone (attribute `labels` or `targets`), and `row_identity`
    says so.

    Args:
        dataset (`datasets.Dataset`, dict of arrays or map-style dataset): With or without labels.

    Returns:
        [`HashedRows`]: kept for a `datasets.Dataset` as long as it lives.

    Example:

    ```python
    >>> from hf_ltr.data import hash_rows, load_long_tailed
    >>> hash_rows(load_long_tailed("digits")["train"]).row_identity
    '(label, encoded image), in order'
    ```
    """
    fingerprint = getattr(dataset, "_fingerprint", None)
    if fingerprint is not None and (known := _known.get(dataset)) is not None and known[0] == fingerprint:
        return known[1]
    rows = stored_rows(dataset)
    result = HashedRows(*_digest(rows))
    if fingerprint is not None:
        _known[dataset] = (fingerprint, result)
    return result


def _digest(rows: StoredRows) -> tuple[str, str]:
    digest = hashlib.sha256(f"{rows.number}\n".encode())
    parts = []
    if rows.labels is not None:
        parts.append("label")
        digest.update(_bytes_of_labels(rows.labels))
    if rows.images is not None:
        whole = sum(_parallel(_size, rows.images)) <= WHOLE_BYTES
        parts.append(_WHOLE if whole else _PIECES)
        for image in _parallel(content_digest if whole else _pieces, rows.images):
            digest.update(image)
    return digest.hexdigest(), f"({', '.join(parts)}), in order" if parts else "number of rows"


def _bytes_of_labels(labels: Any) -> bytes:
    values = labels.numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    if values.dtype.kind in "iub":
        return np.ascontiguousarray(values, dtype="<i8").tobytes()
    return repr(values.tolist()).encode()


def _parallel(function: Callable[[Any], Any], stored: Sequence[Any]) -> Iterator[Any]:
    """`function` of each image, in order; files, which are waited for, are read side by side."""
    if not len(stored) or _path_of(stored[0]) is None:
        yield from (function(stored[number]) for number in range(len(stored)))
        return

    def some(start: int) -> list[Any]:
        return [function(stored[number]) for number in range(start, min(start + _SHARE, len(stored)))]

    with ThreadPoolExecutor(_READERS) as pool:
        for results in pool.map(some, range(0, len(stored), _SHARE)):
            yield from results


def _path_of(image: Any) -> str | None:
    """The local file of an image that is stored as one."""
    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path")
    return os.fspath(image) if isinstance(image, str | os.PathLike) and os.path.isfile(image) else None


def _buffer(image: Any) -> memoryview:
    """The bytes of an image that is in memory, or the text of a place that is no local file."""
    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path") or b""
    if isinstance(image, str):
        return memoryview(image.partition("::")[0].encode())  # of zip://inside.jpg::archive.zip what is inside
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu().numpy() if image.dtype != torch.bfloat16 else image.detach().float().cpu().numpy()
    if hasattr(image, "tobytes") and hasattr(image, "mode"):  # a PIL image
        return memoryview(f"{image.mode}{image.size}".encode() + image.tobytes())
    if isinstance(image, bytes | bytearray) or type(image).__name__ == "Buffer":
        return memoryview(image)
    array = np.asarray(image)
    if array.dtype.kind == "O":
        return memoryview(repr(image).encode())
    return memoryview(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())


def _size(image: Any) -> int:
    path = _path_of(image)
    if path is not None:
        return os.path.getsize(path)
    if isinstance(image, np.ndarray | torch.Tensor):
        return image.nbytes
    return len(_buffer(image))


def content_digest(image: Any) -> bytes:
    """sha256 of an image as it is stored: encoded bytes, a file, or an array."""
    path = _path_of(image)
    if path is None:
        return hashlib.sha256(_buffer(image)).digest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _pieces(image: Any) -> bytes:
    path = _path_of(image)
    if path is None:
        data = _buffer(image)
        return _of_pieces(len(data), [data[start : start + _PIECE] for start in _starts(len(data))])
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        pieces = []
        for start in _starts(size):
            file.seek(start)
            pieces.append(file.read(_PIECE))
    return _of_pieces(size, pieces)


def _starts(size: int) -> tuple[int, int, int]:
    return 0, max(0, size // 2 - _PIECE // 2), max(0, size - _PIECE)


def _of_pieces(size: int, pieces: Sequence[Any]) -> bytes:
    digest = hashlib.sha256(size.to_bytes(8, "little"))
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
