"""
Options of a recipe: dataclass fields, set by a YAML file and by the command line.

YAML sets defaults, the command line wins, and a key nobody knows fails with the nearest name. Sections (one per stage)
hold fields of the training arguments: `--finetuning.max_steps 600`, or in YAML

    finetuning:
      max_steps: 600

Values are converted by the type of their field.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import sys
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..naming import nearest_names, unknown_name
from ..reading import parse_yaml, read_text
from ..redaction import is_secret, public
from ..validation import shown

_OTHER_FORM = {"learning_rate": "base_learning_rate", "base_learning_rate": "learning_rate"}

# The value of an option that stands alone on the command line.
_NO_VALUE = object()


@dataclass
class ParsedOptions:
    """
    What was set, and nothing else.

    Args:
        values (`dict`): Flat options by field name.
        sections (`dict[str, dict]`): Options of each section.
        config_file (`str`, *optional*): The YAML file read.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    config_file: str | None = None

    def build(self, dataclass_type: type) -> Any:
        """An instance of `dataclass_type` from the values that are its fields."""
        names = {f.name for f in dataclasses.fields(dataclass_type) if f.init}
        return dataclass_type(**{key: value for key, value in self.values.items() if key in names})

    def of(self, dataclass_type: type) -> dict[str, Any]:
        """The values that are fields of `dataclass_type`."""
        names = {f.name for f in dataclasses.fields(dataclass_type) if f.init}
        return {key: value for key, value in self.values.items() if key in names}


def parse_options(
    argv: Sequence[str],
    dataclass_types: Sequence[type],
    *,
    sections: dict[str, type] | None = None,
    description: str = "",
) -> ParsedOptions:
    """
    Parse a command line, and the YAML file it names with `--config`.

    Args:
        argv: Arguments without the program name.
        dataclass_types: Their fields are the flat options; where two share a name, the first gives its type.
        sections (`dict[str, type]`, *optional*): Section name to the dataclass its keys are fields of.
        description (`str`): First lines of `--help`.

    Returns:
        [`ParsedOptions`]

    Raises:
        `ValueError`: for an unknown key, a missing value, a value that is not of the field's type, or a file that is
            no YAML. `FileNotFoundError`: for a `--config` that is not there.
    """
    sections = sections or {}
    kinds = _kinds(dataclass_types)
    section_kinds = {name: _kinds([kind]) for name, kind in sections.items()}
    if any(argument in ("-h", "--help") for argument in argv):
        print(_help(description, dataclass_types, sections))
        sys.exit(0)
    pairs = _pairs(argv)
    parsed = ParsedOptions(sections={name: {} for name in sections})
    for key, raw in pairs:
        if key == "config":
            if not isinstance(raw, str):
                raise ValueError("--config needs the path of one YAML file; it may be repeated")
            parsed.config_file = raw
            _read_yaml(Path(raw).expanduser(), kinds, section_kinds, parsed)
    for key, raw in pairs:
        if key == "config":
            continue
        _store(key, raw, kinds, section_kinds, parsed, where="on the command line")
    public([parsed.values, parsed.sections])  # from here on, secrets among them are hidden wherever they turn up
    return parsed


@dataclass(frozen=True)
class _Kind:
    """Type of a field, and whether `none` is one of its words (`report_to`) and not the absence of a value."""

    type: Any
    none_is_a_word: bool


def _kinds(dataclass_types: Sequence[type]) -> dict[str, _Kind]:
    kinds: dict[str, _Kind] = {}
    for dataclass_type in dataclass_types:
        hints = typing.get_type_hints(dataclass_type)
        for item in dataclasses.fields(dataclass_type):
            if item.init:
                kinds.setdefault(item.name, _Kind(hints[item.name], item.default == "none"))
    return kinds


def _pairs(argv: Sequence[str]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    position = 0
    while position < len(argv):
        argument = argv[position]
        if not argument.startswith("--"):
            raise ValueError(
                f"Unexpected argument {shown(argument)}: options are written --name value, for example --output_dir "
                f"runs/mine"
            )
        name, separator, value = argument[2:].partition("=")
        position += 1
        if separator:
            pairs.append((_normal(name), value))
            continue
        values = []
        while position < len(argv) and not argv[position].startswith("--"):
            values.append(argv[position])
            position += 1
        pairs.append((_normal(name), _NO_VALUE if not values else values[0] if len(values) == 1 else values))
    return pairs


def _normal(name: str) -> str:
    return name.replace("-", "_")


def _read_yaml(path: Path, kinds: dict, section_kinds: dict, parsed: ParsedOptions) -> None:
    if not path.is_file():
        there = sorted(file.name for file in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        near = nearest_names(path.name, there)
        hint = f" Did you mean {path.parent / near[0]}?" if near else f" There: {', '.join(there)}." if there else ""
        raise FileNotFoundError(f"--config {path}: no such file.{hint}")
    content = parse_yaml(read_text(path), str(path))
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold `key: value` lines, got {shown(content)}")
    for key, value in content.items():
        key = _normal(str(key))
        if key in section_kinds and (value is None or isinstance(value, dict)):
            for inner, inner_value in (value or {}).items():
                inner = _normal(str(inner))
                _store(f"{key}.{inner}", inner_value, kinds, section_kinds, parsed, where=f"in {path}")
        else:
            _store(key, value, kinds, section_kinds, parsed, where=f"in {path}")


def _store(key: str, raw: Any, kinds: dict, section_kinds: dict, parsed: ParsedOptions, *, where: str) -> None:
    section, dot, inner = key.partition(".")
    if dot:
        if section not in section_kinds:
            raise unknown_name(f"section {where}", section, section_kinds)
        if inner not in section_kinds[section]:
            raise unknown_name(f"option of section {section} {where}", inner, section_kinds[section])
        kind = section_kinds[section][inner]
        _set(parsed.sections[section], inner, convert(raw, kind.type, key, kind.none_is_a_word))
        return
    if key not in kinds:
        raise unknown_name(f"option {where}", key, [*kinds, *(f"{name}.<option>" for name in section_kinds)])
    _set(parsed.values, key, convert(raw, kinds[key].type, key, kinds[key].none_is_a_word))


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    """A value, which also replaces what an earlier place (a config) said about the same thing in another form."""
    values.pop(_OTHER_FORM.get(key), None)
    values[key] = value


def convert(raw: Any, kind: Any, key: str, none_is_a_word: bool = False) -> Any:
    """
    `raw` (a string of the command line, or a YAML value) as the type of its field.

    Raises:
        `ValueError`: naming the option, the value and what was expected.
    """
    choices = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    absent = ("null",) if none_is_a_word else ("none", "null")
    if type(None) in choices and (raw is None or (isinstance(raw, str) and raw.lower() in absent)):
        return None
    detail = ""
    # Where text and a list are both allowed, text is a list only if it is written as one.
    order = [bool, int, float, dict, *((list, str) if str(raw).startswith("[") else (str, list))]
    candidates = [choice for choice in choices if choice is not type(None)]
    for candidate in sorted(candidates, key=lambda kind: _place(kind, order)):
        try:
            return _convert_one(raw, candidate)
        except _NoJSON as error:
            if str(raw).lstrip().startswith(("{", "[")):
                # Meant as JSON, so it is not taken for a string either.
                detail = f" ({error})"
                break
        except _NumberForText as error:
            detail = f" ({error})"
        except (TypeError, ValueError, OverflowError):
            continue
    expected = " or ".join(_kind_name(candidate) for candidate in candidates)
    given = "no value" if raw is _NO_VALUE else "a hidden value" if is_secret(key, raw) else shown(raw)
    raise ValueError(f"{key} must be {expected}, got {given}{detail}")


def _kind_name(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if origin is list:
        return f"a list of {_kind_name(typing.get_args(kind)[0])}" if typing.get_args(kind) else "a list"
    return {bool: "true or false", int: "an integer", float: "a number", str: "a string", dict: "a JSON object"}.get(
        kind, getattr(kind, "__name__", str(kind))
    )


def _place(kind: Any, order: list[type]) -> int:
    """Others, which are enums, come first."""
    origin = typing.get_origin(kind) or kind
    return order.index(origin) if origin in order else -1


def _convert_one(raw: Any, kind: Any) -> Any:
    origin = typing.get_origin(kind) or kind
    if raw is _NO_VALUE:
        if origin is bool:
            return True
        raise TypeError
    if origin is bool:
        if isinstance(raw, bool):
            return raw
        lowered = str(raw).lower()
        if lowered in ("true", "yes", "1", "on"):
            return True
        if lowered in ("false", "no", "0", "off"):
            return False
        raise ValueError
    if isinstance(raw, bool):
        raise TypeError
    if origin is int:
        number = float(raw)
        if number != int(number):
            raise ValueError
        return int(raw) if isinstance(raw, str) and raw.lstrip("+-").isdigit() else int(number)
    if origin is float:
        number = float(raw)
        if not math.isfinite(number):
            raise ValueError
        return number
    if origin is dict:
        value = _json(raw) if isinstance(raw, str) else raw
        if not isinstance(value, dict):
            raise TypeError
        return value
    if origin in (list, tuple):
        inner = typing.get_args(kind)[0] if typing.get_args(kind) else str
        if isinstance(raw, str):
            raw = _json(raw) if raw.startswith("[") else [part for part in raw.replace(",", " ").split()]
        if not isinstance(raw, list | tuple):
            raw = [raw]
        values = [_convert_one(item, inner) for item in raw]
        return tuple(values) if origin is tuple else values
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(raw).value
    if origin is str or kind is Any:
        if raw is None or isinstance(raw, dict | list):
            raise TypeError
        if isinstance(raw, float) and kind is str:
            raise _NumberForText("put it in quotes, since a number is not kept as it is written")
        return raw if kind is Any else str(raw)
    raise TypeError


class _NumberForText(ValueError):
    """A number of YAML in the place of text: `3.10` would become `3.1`."""


class _NoJSON(ValueError):
    """Text that was meant as JSON and is none."""


def _json(raw: str) -> Any:
    try:
        return json.loads(raw, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise _NoJSON(f"no JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:
        raise _NoJSON(f"no JSON that can be read: {error}") from None


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _help(description: str, dataclass_types: Sequence[type], sections: dict[str, type]) -> str:
    lines = [description.strip(), "", "Options (--name value, or `name: value` in the file given with --config):", ""]
    for dataclass_type in dataclass_types:
        lines.append(f"{dataclass_type.__name__}:")
        own = set(dataclass_type.__annotations__)
        for item in dataclasses.fields(dataclass_type):
            if item.name in own and item.init:
                made = item.default_factory
                default = item.default if made is dataclasses.MISSING else made()
                default = "none, it must be given" if default is dataclasses.MISSING else default
                text = item.metadata.get("help", "")
                lines.append(f"  --{item.name}  (default {default})  {text}".rstrip())
        inherited = [base.__name__ for base in dataclass_type.__mro__[1:-1] if dataclasses.is_dataclass(base)]
        if inherited:
            lines.append(f"  ... and every field of {', '.join(inherited)}")
        lines.append("")
    for name, kind in sections.items():
        lines.append(f"--{name}.<option> value: any field of {kind.__name__}, for the stage {name!r} only")
    return "\n".join(lines)
