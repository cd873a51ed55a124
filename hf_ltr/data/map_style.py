"""What training and evaluation can read: rows that are counted and looked up by their number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

_TABLES = {"pandas": "from_pandas", "polars": "from_polars"}


def require_map_style(dataset: Any, what: str = "The dataset", length: bool = True) -> None:
    """
    Refuse what has no rows by number: streams, dicts of splits, paths, tables.

    Args:
        dataset: `datasets.Dataset`, a map-style `torch.utils.data.Dataset`, a list of rows, a dict of arrays.
        what (`str`): What it is to be, for the message.
        length (`bool`): Whether `len()` is needed.

    Raises:
        `TypeError`: saying what it is and what to do.
    """
    kind = type(dataset).__name__
    if dataset is None:
        raise TypeError(f"{what} is None: give one split, such as load_long_tailed(...)['train']")
    if isinstance(dataset, str | bytes | Path):
        raise TypeError(
            f"{what} is {str(dataset)!r}, a name and no data: load it, load_long_tailed({str(dataset)!r}), and give "
            "one of its splits"
        )
    if isinstance(dataset, Mapping):
        splits = [str(name) for name, part in dataset.items() if _is_dataset(part)]
        if splits:
            raise TypeError(
                f"{what} needs one split, not the dict of {', '.join(splits)} (a {kind}): pass dataset[{splits[0]!r}]"
            )
        return
    library = type(dataset).__module__.partition(".")[0]
    if library in _TABLES:
        raise TypeError(
            f"{what} is a {kind} of {library}: convert it with datasets.Dataset.{_TABLES[library]}(...) and make the "
            "column of images one (dataset.cast_column('image', datasets.Image()))"
        )
    if library in ("numpy", "torch") and hasattr(dataset, "shape"):
        raise TypeError(
            f"{what} is an array of shape {tuple(dataset.shape)}, without labels: give images and labels together, "
            "as a dict {'image': ..., 'label': ...} for one set"
        )
    if not is_map_style(dataset, length):
        if not isinstance(dataset, Iterable):
            raise TypeError(f"{what} must be a dataset with len() and rows by number, not a {kind}")
        raise TypeError(
            f"{what} is a stream ({kind}), but class counts, samplers and groups need all labels before the first "
            "step, and rows by their number. Load it without streaming; or collect its rows once with "
            "hf_ltr.data.to_map_style(dataset), where they fit into memory; or store it as a folder, decode it ahead "
            "with `hf-ltr prepare`, and load that with load_long_tailed."
        )


def require_rows(dataset: Any, what: str) -> None:
    """Refuse what is no map-style dataset, or an empty one."""
    require_map_style(dataset, what)
    if number_of_rows(dataset) == 0:
        raise ValueError(f"{what} has no rows")


def number_of_rows(dataset: Any) -> int:
    """Rows of a map-style dataset; of a dict of arrays their length."""
    return len(next(iter(dataset.values()), ())) if isinstance(dataset, Mapping) else len(dataset)


def is_map_style(dataset: Any, length: bool = True) -> bool:
    """Whether a dataset has `len()` and rows by number."""
    if not hasattr(dataset, "__getitem__") or (length and not hasattr(dataset, "__len__")):
        return False
    # `torch.utils.data.IterableDataset` inherits a `__getitem__` that only raises.
    return not any(base.__name__ == "IterableDataset" for base in type(dataset).__mro__)


def is_arrow_dataset(dataset: Any) -> bool:
    """Whether this is a `datasets.Dataset` that is not under a user's transform (those yield ready items)."""
    import datasets

    return isinstance(dataset, datasets.Dataset) and dataset.format["type"] != "custom"


def require_column(column: str, columns: Iterable[str], kind: str) -> None:
    """Refuse a dataset without a column, listing those it has; `kind` is `"image"` or `"label"`."""
    columns = list(columns)
    if column not in columns:
        found = ", ".join(map(repr, columns)) or "(none)"
        raise ValueError(
            f"no {kind} column {column!r} in the dataset; its columns are {found}. "
            f"Rename the right one: dataset.rename_column(<its name>, {column!r})"
        )


def _is_dataset(part: Any) -> bool:
    return hasattr(part, "column_names") or any(base.__name__ == "Dataset" for base in type(part).__mro__)


def to_map_style(dataset: Any) -> Dataset:
    """
    The rows of a stream as a `datasets.Dataset`, in memory; images stay encoded where they are.

    Args:
        dataset (iterable): `datasets.IterableDataset`, `torch.utils.data.IterableDataset`, a generator or a list, of
            rows `{"image": ..., "label": ...}` or pairs `(image, label)`. It must end.

    Returns:
        `datasets.Dataset`: With the features of the stream, class names included, where it has any.

    Raises:
        `ValueError`: if there are no rows, or rows of another form.

    Example:

    ```python
    >>> from datasets import load_dataset
    >>> from hf_ltr.data import to_map_style
    >>> stream = load_dataset("my_images", split="train", streaming=True)
    >>> train = to_map_style(stream)
    ```
    """
    import datasets

    features = getattr(dataset, "features", None)
    if isinstance(dataset, datasets.IterableDataset) and features is not None:
        for name, feature in features.items():
            if isinstance(feature, datasets.Image):
                dataset = dataset.cast_column(name, datasets.Image(mode=feature.mode, decode=False))
    rows = [_row(item, number) for number, item in enumerate(dataset)]
    if not rows:
        raise ValueError("The stream has no rows")
    return datasets.Dataset.from_list(rows, features=features)


def _row(item: Any, number: int) -> dict[str, Any]:
    if isinstance(item, Mapping):
        return dict(item)
    if isinstance(item, Sequence) and not isinstance(item, str | bytes) and len(item) == 2:
        return {"image": item[0], "label": int(item[1])}
    raise ValueError(
        f"Row {number} is a {type(item).__name__}; rows must be {{'image': ..., 'label': ...}} or pairs (image, label)"
    )
