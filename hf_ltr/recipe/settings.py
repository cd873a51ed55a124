"""What was said, before it is understood: names and values of YAML files and of the command line, the winner last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..naming import nearest_names
from ..reading import read_yaml
from ..validation import shown
from .conversion import NO_VALUE
from .fields import OptionField, old_names

ON_COMMAND_LINE = "on the command line"
CONFIG = "config"
PRINT_CONFIG = "print_config"
_FLAG_WORDS = ("true", "false", "yes", "no", "1", "0", "on", "off")


@dataclass(frozen=True)
class Setting:
    """
    One option as it was written.

    Args:
        key (`str`): Its name, `section.name` for a section; with underscores, and the name of today.
        raw: Text of the command line, or a value of YAML.
        where (`str`): `ON_COMMAND_LINE`, or `in <file>`.
    """

    key: str
    raw: Any
    where: str


def read_settings(argv: Sequence[str], fields: Mapping[str, OptionField]) -> list[Setting]:
    """
    What a command line says: the settings of its YAML files from left to right, then its own.

    Raises:
        `ValueError`: for a word that belongs to no option, or a file that is no YAML. `FileNotFoundError`: for a
            `--config` that is not there.
    """
    renamed = old_names(fields)
    words = [word for word in argv if not (asks_for_help(word) or asks_to_print(word))]
    pairs = [(renamed.get(key, key), raw) for key, raw in _pairs(words, fields)]
    settings: list[Setting] = []
    for key, raw in pairs:
        if key == CONFIG:
            if not isinstance(raw, str):
                raise ValueError("--config needs the path of one YAML file; it may be repeated")
            path = Path(raw).expanduser()
            keys = ((normal(str(name)), value) for name, value in _read_config(path).items())
            settings += [Setting(renamed.get(name, name), value, f"in {path}") for name, value in keys]
    return settings + [Setting(key, raw, ON_COMMAND_LINE) for key, raw in pairs if key != CONFIG]


def normal(name: str) -> str:
    """Names may be spelt with hyphens."""
    return name.replace("-", "_")


def asks_for_help(word: str) -> bool:
    return word in ("-h", "--help")


def asks_to_print(word: str) -> bool:
    return normal(word) == f"__{PRINT_CONFIG}"


def _pairs(argv: Sequence[str], fields: Mapping[str, OptionField]) -> list[tuple[str, Any]]:
    """`(name, words)` of a command line: one word as it is, several as a list, none as `NO_VALUE`."""
    places = [item.name for item in fields.values() if item.positional]
    alone: list[str] = []
    pairs: list[tuple[str, Any]] = []
    position = 0
    while position < len(argv):
        word = argv[position]
        position += 1
        if not word.startswith("--"):
            alone.append(word)
            if len(alone) > len(places):
                raise ValueError(
                    f"Unexpected argument {shown(word)}: options are written --name value, for example --output_dir "
                    "runs/mine"
                )
            continue
        name, separator, value = word[2:].partition("=")
        if separator:
            pairs.append((normal(name), value))
            continue
        end = position
        while end < len(argv) and not argv[end].startswith("--"):
            end += 1
        words = list(argv[position:end])
        taken = _taken(normal(name), fields, words, len(places) - len(alone))
        alone += words[taken:]
        words = words[:taken]
        pairs.append((normal(name), NO_VALUE if not words else words[0] if len(words) == 1 else words))
        position = end
    return [*zip(places, alone, strict=False), *pairs]


def _taken(name: str, fields: Mapping[str, OptionField], words: list[str], open_places: int) -> int:
    """How many of the words behind an option are its value; others may be arguments that stand without a name."""
    item = fields.get(name.rpartition(".")[2])  # what a section holds are options that stand outside of it, too
    if not open_places or (name != CONFIG and (item is None or item.takes_many)):
        return len(words)
    own = 0 if item is not None and item.is_flag and not (words and words[0].lower() in _FLAG_WORDS) else 1
    return own if len(words) - own <= open_places else len(words)


def _read_config(path: Path) -> dict[Any, Any]:
    if not path.is_file():
        there = sorted(file.name for file in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        near = nearest_names(path.name, there)
        hint = f" Did you mean {path.parent / near[0]}?" if near else f" There: {', '.join(there)}." if there else ""
        raise FileNotFoundError(f"--config {path}: no such file.{hint}")
    content = read_yaml(path)
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold `key: value` lines, got {shown(content)}")
    return content
