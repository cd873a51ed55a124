"""Which names are datasets, and whether a source can be there at all: known before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...naming import is_hub_id, nearest_names, unknown_name
from .lists.listed_datasets import LISTED


@dataclass(frozen=True)
class _Benchmark:
    hub_id: str
    # Of the Hub copy; local folders may call their columns anything.
    label_column: str
    num_classes: int


BENCHMARKS = {
    "cifar10": _Benchmark("uoft-cs/cifar10", "label", 10),
    "cifar100": _Benchmark("uoft-cs/cifar100", "fine_label", 100),
}
DATASETS = ("digits", *BENCHMARKS, *LISTED)
# As in `load_dataset("imagefolder", data_dir=...)`.
FOLDER_BUILDERS = ("imagefolder", "parquet")


def check_source(name: str, data_dir: str | Path | None = None) -> None:
    """
    Refuse a dataset that is not there.

    Args:
        name (`str`): As in [`load_long_tailed`]; what could be a Hub id passes.
        data_dir (`str` or `Path`, *optional*): Its local copy.

    Raises:
        `FileNotFoundError`: for a folder that does not exist.
        `ValueError`: for a name that is no dataset, or one that needs another argument.
    """
    path = Path(name).expanduser()
    # `owner/name:configuration`
    on_hub = is_hub_id(name.partition(":")[0]) and not path.exists()
    if data_dir is not None:
        if name not in (*BENCHMARKS, *LISTED, *FOLDER_BUILDERS) and not on_hub:
            raise ValueError(
                f"data_dir= is the local copy of a named dataset ({', '.join((*BENCHMARKS, *LISTED))}) or of "
                f"a Hub id; for your own data give the folder itself: load_long_tailed({str(data_dir)!r})"
            )
        if not Path(data_dir).expanduser().exists():
            raise FileNotFoundError(f"data_dir={str(data_dir)!r} does not exist")
        return
    if name in DATASETS or path.exists() or on_hub:
        return
    if name in FOLDER_BUILDERS:
        raise ValueError(
            f"load_long_tailed({name!r}) needs data_dir=<folder>; or give the folder in the place of the name"
        )
    if "/" not in name and "\\" not in name:
        raise unknown_name("dataset", name, DATASETS, "A Hub id has the form owner/name; a folder must exist.")
    raise FileNotFoundError(f"There is no folder {name!r}.{meant_dataset(path.name)}")


def meant_dataset(name: str) -> str:
    """The named dataset that is closest in spelling, as a closing question."""
    close = nearest_names(name, DATASETS)
    return f" Did you mean the dataset {close[0]!r}?" if close else ""
