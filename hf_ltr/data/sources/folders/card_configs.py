"""What the dataset card of a local copy says about its configurations and the files of their splits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from datasets.data_files import resolve_pattern, sanitize_patterns

from ....validation import choice


def card_configurations(root: Path) -> dict[str, dict[str, Any]]:
    """`configs` in the front matter of the folder's README.md, by name; empty without."""
    card = root / "README.md"
    content = card.read_bytes() if card.is_file() else b""
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    if not lines or lines[0].strip() != b"---":
        return {}
    end = next((number for number, line in enumerate(lines[1:], 1) if line.strip() == b"---"), None)
    try:
        # As `datasets` reads it (`default: no` is false), not by the rules of our own files.
        front = yaml.safe_load(b"\n".join(lines[1:end]).decode("utf-8")) if end else None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"The front matter of {card} cannot be read: {' '.join(str(error).split())}") from error
    configs = front.get("configs") if isinstance(front, dict) else None
    if configs is None:
        return {}
    if not isinstance(configs, list) or not all(isinstance(config, dict) for config in configs):
        raise ValueError(f"configs in {card} must be a list of configurations, each with config_name and data_files")
    described = [config for config in configs if config.get("data_files") or config.get("data_dir")]
    return {str(config.get("config_name", "default")): config for config in described}


def choose_configuration(configurations: dict[str, dict[str, Any]], name: str | None, where: Any) -> dict[str, Any]:
    """
    The configuration called `name`; without a name the only one, or the card's default, as `load_dataset` takes it. An
    unknown name is refused, and several of which none is the default.
    """
    if name is not None:
        return configurations[choice(f"dataset_config of {where}", name, configurations)]
    default = [own for own in configurations.values() if own.get("default") is True]
    if len(configurations) == 1 or default:
        return (default or list(configurations.values()))[0]
    if "default" in configurations:
        return configurations["default"]
    raise several_configurations(configurations, where)


def several_configurations(names: Any, where: Any) -> ValueError:
    """The error for a source with several configurations of which none was chosen."""
    return ValueError(
        f"{where} has the configurations {', '.join(names)}. Choose one with dataset_config='{next(iter(names))}'"
    )


def configuration_folder(root: Path, configuration: dict[str, Any]) -> Path:
    """The folder that a configuration names as its own; it must be there, and below `root`."""
    given = str(configuration.get("data_dir") or "")
    if os.path.isabs(given) or ".." in Path(given).parts:
        raise ValueError(f"The card of {root} names a folder outside of it ({given!r}), which is not read")
    if not (root / given).is_dir():
        raise FileNotFoundError(f"The card of {root} names the folder {given}, which is not there")
    return root / given


def configuration_files(root: Path, configuration: dict[str, Any]) -> dict[str, list[str]]:
    """
    Files of each split as `datasets` finds them by the patterns of a card, relative to `root`.

    Raises:
        `ValueError`: for patterns that are none, or that lead out of the folder.
        `FileNotFoundError`: for a pattern without files.
    """
    name = configuration.get("config_name", "default")
    base = configuration_folder(root, configuration)
    patterns = configuration.get("data_files")
    if not isinstance(patterns, str | list) or not patterns:
        raise ValueError(f"data_files of configuration {name!r} in the card of {root} must be a pattern or a list")
    files: dict[str, list[str]] = {}
    for split, own in sanitize_patterns(patterns).items():
        for pattern in own:
            if (
                not isinstance(pattern, str)
                or "://" in pattern
                or os.path.isabs(pattern)
                or ".." in Path(pattern).parts
            ):
                raise ValueError(
                    f"The card of {root} names files of {split} outside of the folder ({pattern!r}), which are not "
                    "read"
                )
            try:
                found = resolve_pattern(pattern, str(base.resolve()))
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"The card of {root} says that its split {split} is {pattern!r}, but there is no such file"
                ) from error
            files.setdefault(split, []).extend(os.path.relpath(file, root.resolve()) for file in sorted(found))
    return files
