"""The numbers that papers print for a method, each with its protocol."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .facts import example
from .recipe_configs import DATASET_TITLES

_TITLES = {"cifar100_lt": "CIFAR-100-LT, IF 100", **DATASET_TITLES}
_DATASET_ORDER = ["cifar100_lt", "imagenet_lt", "places_lt", "inat18"]
_BACKBONES = {
    "resnet10": "ResNet-10",
    "resnet32": "ResNet-32",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
    "resnet152": "ResNet-152",
    "resnext50": "ResNeXt-50",
    "vit_b": "ViT-B",
    "vit_l": "ViT-L",
    "convvit_b": "ConvViT-B",
    "swin_t": "Swin-T",
    "swin_s": "Swin-S",
}
_INITIAL = {"imagenet1k": "ImageNet-1k weights", "mae_own": "own MAE pretraining", "clip": "CLIP weights"}
_GROUPS = ("many", "medium", "few")
# Remarks of the table of results that say nothing here: epochs are those of the supervised training everywhere.
_PLAIN_VARIANTS = (
    "e2e",
    "decoupled",
    "test prior unknown",
    "instance-balanced sampling",
    "epochs = supervised fine-tuning",
    "epochs = stage 1",
)

PUBLISHED_COLUMNS = ["data", "network", "epochs", "augmentation", "all", *_GROUPS, "what", "source"]


def published_table(rows: Iterable[Mapping[str, Any]], names: Sequence[str], method: str = "") -> list[list[str]]:
    """
    Rows of published results that a reader may compare with: balanced test set, known source, nothing doubtful or
    remembered, CIFAR-100-LT only at imbalance factor 100. What is another method under the same name is left out, and
    options with which a number was made are named where they are not the defaults.

    A number that one paper copied from another is left out where the other is there.

    Args:
        rows (iterable of mappings): As [`~hf_ltr.table.published_results`] returns them.
        names (sequence of `str`): Accepted values of the column `method`.
        method (`str`): Registry name of the method whose page it is.

    Returns:
        `list[list[str]]`: cells in the order of `PUBLISHED_COLUMNS`.
    """
    options: dict[int, dict[str, Any]] = {}
    kept = []
    for row in rows:
        found = None
        if row["method"] in names and _comparable(row):
            found = example(method).published_options(row) if method else {}
        if found is not None:
            kept.append(row)
            options[id(row)] = found
    # ResNet-32 is everybody's network on CIFAR; another one is shown where the method has nothing else.
    if any(row["dataset"] == "cifar100_lt" and row["backbone"] == "resnet32" for row in kept):
        kept = [row for row in kept if row["dataset"] != "cifar100_lt" or row["backbone"] == "resnet32"]
    unique: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for row in sorted(kept, key=_preference):
        setting = (row["dataset"], row["backbone"], row["init"], f"{row['top1_all']:.1f}")
        copied = row["copied_from_other_paper"] != "no" and any(key[:4] == setting for key in unique)
        if not copied:
            unique.setdefault((*setting, row["combined_with"], row["variant"]), row)
    defaults = example(method).describe()["options"] if method else {}
    return [
        _published_cells(row, {key: value for key, value in options[id(row)].items() if defaults[key] != value})
        for row in sorted(unique.values(), key=_place)
    ]


def _comparable(row: Mapping[str, Any]) -> bool:
    return (
        row["dataset"] in _DATASET_ORDER
        and (row["dataset"] != "cifar100_lt" or row["imbalance_factor"] == 100)
        and row["test_shift"] == "uniform"
        and not row["doubtful"]
        and row["confidence"] != "memory"
        and row["combined_with"] != "pc"
        and row["top1_all"] is not None
    )


def _preference(row: Mapping[str, Any]) -> tuple[Any, ...]:
    copied = {"no": 0, "yes": 2}.get(row["copied_from_other_paper"], 1)
    return (copied, row["many"] is None, row["epochs"] is None, row["source"])


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        _DATASET_ORDER.index(row["dataset"]),
        row["backbone"],
        row["init"],
        row["epochs"] or math.inf,
        row["top1_all"],
    )


def _published_cells(row: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    network = _BACKBONES.get(row["backbone"], row["backbone"])
    if row["init"] in _INITIAL:
        network += f", {_INITIAL[row['init']]}"
    numbers = [_as_printed(row[name]) for name in ("top1_all", *_GROUPS)]
    epochs = f"{row['epochs']:g}" if row["epochs"] else "not stated"
    augmentation = "not stated" if row["augmentation"] in ("", "unknown") else row["augmentation"]
    source = re.sub(r" \(methods_\w+\.md\)", "", row["source"])
    if row["copied_from_other_paper"] == "yes":
        source += " (copied there)"
    return [_TITLES[row["dataset"]], network, epochs, augmentation, *numbers, _what(row, options), source]


def _as_printed(value: float | None) -> str:
    """With the one or two decimals of the source; empty where it prints nothing."""
    return "" if value is None else f"{value:.1f}" if round(value, 1) == value else f"{value:.2f}"


def _what(row: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """The part a method is combined with, its options, the form of the run and its note; what is plain is left out."""
    parts = [row["combined_with"].replace("_", " "), ", ".join(f"{key}={value}" for key, value in options.items())]
    for part in row["variant"].split("; "):
        if part in _PLAIN_VARIANTS or part.startswith("init = "):
            continue
        parts.append(re.sub(r"^mae_epochs=(\d+)$", r"MAE of \1 epochs", part).replace("resolution=", "pixels "))
    return "; ".join(part for part in [*parts, row.get("note", "")] if part)
