"""
Published accuracies of long-tailed recognition, each with its source and protocol.

The file counts 1,074 printed numbers. A number means little without its protocol (epochs, augmentation, backbone): the
same cross-entropy on CIFAR-100-LT is printed with 38.3 and with 41.4. So rows are always shown with theirs.
"""

from __future__ import annotations

import csv
import importlib.resources
import io
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ..methods import METHODS, LongTailMethod
from ..naming import unknown_name
from ..validation import number, text, texts

_INTEGERS = ("imbalance_factor", "epochs", "num_experts", "test_imbalance")
_ACCURACIES = ("top1_all", "many", "medium", "few")
# Weakest last: what a paper or its repository prints, then what others list.
_EVIDENCE = (
    "seed_table seed_text seed_derived repo_code_output repo_readme repo_doc third_party_listing issue_thread "
    "factsheet_memory"
).split()
_WEAK = ("third_party_listing", "issue_thread", "factsheet_memory")


def published_results(
    method: str | Sequence[str] | None = None,
    dataset: str | None = None,
    imbalance_factor: float | None = None,
    backbone: str | None = None,
    *,
    combined_with: str | Sequence[str] | None = None,
    epochs: int | None = None,
    augmentation: str | None = None,
    source: str | None = None,
    test_shift: str | None = None,
    include_doubtful: bool = True,
) -> list[dict[str, Any]]:
    """
    Published rows that fit all that is given.

    Args:
        method (`str` or sequence of `str`, *optional*): As in the file (`"ce"`, `"bsce"`), or a name in `METHODS`.
        dataset (`str`, *optional*): `"cifar10_lt"`, `"cifar100_lt"`, `"imagenet_lt"`, `"places_lt"`, `"inat18"`; the
            names of [`load_long_tailed`] work too.
        imbalance_factor (`float`, *optional*): CIFAR as printed; 256, 996 and 500 for the three others.
        backbone (`str`, *optional*): `"resnet32"`, `"resnext50"`, ...; `"resnet32_cifar"` works too.
        combined_with (`str` or sequence of `str`, *optional*): The other part of a combination; `""` for none.
        epochs (`int`, *optional*): Supervised epochs of the first or only stage.
        augmentation (`str`, *optional*): `"basic"`, `"randaug"`, `"autoaug+cutout"` or `"unknown"`.
        source (`str`, *optional*): Text that the source contains.
        test_shift (`str`, *optional*): `"uniform"`, `"forward"` or `"backward"`.
        include_doubtful (`bool`, defaults to `True`): Rows with known contradictions are marked `doubtful` and are no
            targets; False leaves them out.

    Returns:
        `list[dict]`: in the file's order. Accuracies (`top1_all`, `many`, `medium`, `few`) are percent or None, as are
            `epochs` and `num_experts`; `doubtful` is a bool; all else is text, empty where it is not known. `note` is
            what somebody must know who compares with the number.

    Raises:
        `ValueError`: for a name that no row has, with the nearest ones.

    Example:

    ```python
    >>> from hf_ltr.table import published_results
    >>> [row["top1_all"] for row in published_results("ce", "cifar100_lt", 100, "resnet32", source="BagofTricks")]
    [38.32]
    ```
    """
    wanted: dict[str, Sequence[Any]] = {}
    if method is not None:
        wanted["method"] = _methods(_texts("method", method))
    if combined_with is not None:
        wanted["combined_with"] = _texts("combined_with", combined_with)
    if dataset is not None:
        wanted["dataset"] = [_known("dataset", text("dataset", dataset), f"{dataset}_lt")]
    if backbone is not None:
        wanted["backbone"] = [_known("backbone", text("backbone", backbone), backbone.removesuffix("_cifar"))]
    if augmentation is not None:
        wanted["augmentation"] = [_known("augmentation", augmentation)]
    if test_shift is not None:
        wanted["test_shift"] = [_known("test_shift", test_shift)]
    if imbalance_factor is not None:
        wanted["imbalance_factor"] = [number("imbalance_factor", imbalance_factor, minimum=0)]
    if epochs is not None:
        wanted["epochs"] = [number("epochs", epochs, minimum=0)]
    said = "" if source is None else text("source", source).lower()
    return [
        dict(row)
        for row in _rows()
        if all(row[column] in values for column, values in wanted.items())
        and said in row["source"].lower()
        and (include_doubtful or not row["doubtful"])
    ]


def published_targets(
    method: LongTailMethod, protocol: Mapping[str, Any], *, post_hoc: str | None = None, tau: float = 1.0
) -> list[dict[str, Any]]:
    """
    What is published about a method, with the options it has here, on the data of a protocol; the nearest protocol
    first.

    Doubtful rows, shifted test sets and several experts are left out, and so is every number that was made with other
    options ([`LongTailMethod.is_published_as`]). A first stage other than cross-entropy, and the base of a wrapper,
    must be printed as a combination.

    Args:
        method ([`LongTailMethod`]): Found through its class's `published_names`.
        protocol (`dict`): `dataset`, `imbalance_factor` and `backbone` select; `epochs`, `augmentation` and `source`,
            as far as known, decide what is near. Of data that nobody publishes on, nothing is found.
        post_hoc (`str`, *optional*): `"logit_adjustment"` if that is done to the trained model's logits.
        tau (`float`, defaults to 1.0): Of `post_hoc`; what is printed has 1.

    Returns:
        `list[dict]` as [`published_results`]; empty where nothing is printed.
    """
    place = {key: protocol[key] for key in ("dataset", "imbalance_factor", "backbone") if protocol.get(key)}
    if "dataset" not in place or not _is_known("dataset", place["dataset"], f"{place['dataset']}_lt"):
        return []
    if "backbone" in place and not _is_known("backbone", place["backbone"], place["backbone"].removesuffix("_cifar")):
        return []
    if post_hoc is not None and tau != 1.0:
        return []
    found = [
        row
        for names, partners in _published_names(method, post_hoc)
        for row in published_results(
            names, combined_with=partners, test_shift="uniform", include_doubtful=False, **place
        )
        if row["top1_all"] is not None and row["num_experts"] is None
        if post_hoc is not None or _same_variant(method, row)
    ]
    return sorted(found, key=lambda row: _distance(row, protocol))


def protocol_in_words(row: Mapping[str, Any]) -> str:
    """Epochs, augmentation and source of a published row, for a table."""
    words = [f"{row['epochs']} epochs" if row["epochs"] else "epochs not stated"]
    if row["augmentation"] not in ("", "unknown"):
        words.append({"basic": "crop+flip"}.get(row["augmentation"], row["augmentation"]))
    source = re.sub(r" \(methods_\w+\.md\)| documents/\S+", "", row["source"])
    if row["evidence"] in _WEAK:
        source += {"factsheet_memory": ", not verified"}.get(row["evidence"], ", second hand")
    return f"{', '.join(words)}; {source}"


@lru_cache(maxsize=1)
def _rows() -> tuple[dict[str, Any], ...]:
    path = importlib.resources.files("hf_ltr") / "resources" / "published_results.csv"
    return tuple(_typed(row) for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def _typed(row: dict[str, str]) -> dict[str, Any]:
    typed: dict[str, Any] = dict(row)
    for column in _INTEGERS:
        typed[column] = int(row[column]) if row[column] else None
    for column in _ACCURACIES:
        typed[column] = float(row[column]) if row[column] else None
    typed["doubtful"] = row["doubtful"] == "yes"
    return typed


def _is_known(column: str, *spellings: str) -> bool:
    return any(row[column] in spellings for row in _rows())


def _known(column: str, *spellings: str) -> str:
    values = {row[column] for row in _rows()}
    for spelling in spellings:
        if spelling in values:
            return spelling
    raise unknown_name(f"{column} of published results", spellings[0], values)


def _texts(name: str, value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else texts(name, value)


def _methods(methods: Sequence[str]) -> list[str]:
    values = {row["method"] for row in _rows()}
    names: list[str] = []
    for name in methods:
        if name in values:
            names.append(name)
            continue
        if name not in METHODS:
            raise unknown_name("method of published results", name, values)
        names += [published for published in METHODS[name].published_names if published in values]
    return names


def _published_names(method: LongTailMethod, post_hoc: str | None) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Pairs of (names in the column `method`, names in `combined_with`) under which a method is printed."""
    values = {row["method"] for row in _rows()}
    names = tuple(name for name in method.published_names if name in values)
    if post_hoc is not None:
        # Printed as methods of their own.
        return [(method.published_post_hoc, method.published_inside)] if method.published_post_hoc else []
    part = method.published_part()
    if part is None or part.published_inside:
        partners = method.published_with + (part.published_inside if part is not None else ())
        return [(names, partners)] if names else []
    partners = tuple(part.published_names)
    mirrored = tuple(name for name in partners if name in values)
    return [pair for pair in ((names, partners), (mirrored, names)) if pair[0] and pair[1]]


def _same_variant(method: LongTailMethod, row: Mapping[str, Any]) -> bool:
    """Whether a row was made with the options of the method, and of the one inside it."""
    part = method.published_part()
    if part is None or part.published_inside:
        return method.is_published_as(row)
    # Which of the two a source calls the method and which the combination differs.
    own, other = row["method"], row["combined_with"]
    if own not in method.published_names:
        own, other = other, own
    return method.is_published_as({**row, "method": own, "combined_with": other}) and part.is_published_as(
        {**row, "method": other, "combined_with": own}
    )


def _distance(row: Mapping[str, Any], protocol: Mapping[str, Any]) -> tuple[Any, ...]:
    """Small is near: first the same source, then the same augmentation and number of epochs, then good evidence."""
    sources, epochs = protocol.get("source") or [], protocol.get("epochs")
    sources = [sources] if isinstance(sources, str) else sources
    known = (place for place, source in enumerate(sources) if source.lower() in row["source"].lower())
    return (
        next(known, len(sources)),
        row["evidence"] in _WEAK,
        row["augmentation"] != protocol.get("augmentation", "basic"),
        10**6 if row["epochs"] is None or epochs is None else abs(row["epochs"] - epochs),
        {"no": 0, "unknown": 1}.get(row["copied_from_other_paper"], 2),
        _EVIDENCE.index(row["evidence"]) if row["evidence"] in _EVIDENCE else len(_EVIDENCE),
        row["label"],
    )
