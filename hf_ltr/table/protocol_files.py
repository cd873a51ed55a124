"""Protocols read from YAML: every key is checked, every value has the type of its field."""

from __future__ import annotations

import copy
import dataclasses
import importlib.resources
import re
import typing
from pathlib import Path
from typing import Any

from ..naming import nearest_names, unknown_name
from ..reading import parse_yaml, read_text
from ..validation import mapping, number, shown, text
from .protocol import Protocol

# A protocol says nothing about these: the seed is the table's, the folders are those of the run.
NOT_PROTOCOL = frozenset(("seed", "data_seed", "output_dir", "push_to_hub", "resume_from_checkpoint", "run_name"))
# Data options that say where a copy of the data lies on this machine, not which rows are trained on.
PLACES = ("data_dir", "list_dir")
# As an override it limits every stage and shortens its schedule, so the plan of a run applies it.
_TRIAL = "max_steps"
_PUBLISHED = ("augmentation", "source")
_PARTS = ("options", "data", "model", "arguments", "stages")
# Protocol of a dataset where the command line names none.
DEFAULT_PROTOCOLS = {"cifar100": "cifar100_lt_40ep", "cifar10": "cifar100_lt_40ep"}


def protocol_names() -> list[str]:
    """The protocols that ship with the package."""
    return sorted(path.name.removesuffix(".yaml") for path in _folder().iterdir() if path.name.endswith(".yaml"))


def load_protocol(name_or_path: str | Path, **overrides: Any) -> Protocol:
    """
    Load a protocol of the package or from a YAML file.

    Args:
        name_or_path (`str` or `Path`): A name that [`protocol_names`] lists, or the path of a YAML file.
        overrides: Fields of the data options, the model options or the training arguments by name; `"stage.field"` (as
            a key of `**{...}`) is for one stage. Values may be strings, as from a command line.

    Returns:
        [`Protocol`]

    Raises:
        `ValueError`: for an unknown key anywhere, or a value that is not of its field's type, naming both.
        `FileNotFoundError`: for a file that is not there.

    Example:

    ```python
    >>> from hf_ltr.table import load_protocol
    >>> load_protocol("cifar100_lt_40ep", imbalance_factor=50).data["imbalance_factor"]
    50.0
    ```
    """
    written, where = _read(name_or_path)
    content = parse_yaml(written, where)
    if not isinstance(content, dict) or "name" not in content:
        raise ValueError(f"{where} must hold `key: value` lines, among them `name`")
    fields = [item.name for item in dataclasses.fields(Protocol) if item.name != "overrides"]
    for key, value in content.items():
        if key not in fields:
            raise unknown_name(f"key of {where}", key, fields)
        if key in ("name", "title", "source"):
            text(f"{key} of {where}", value)
        elif value is not None and key != "rows":
            mapping(f"{where}, {key}", value)
    protocol = Protocol(**{key: copy.deepcopy(value) for key, value in content.items() if value is not None})
    _check(protocol, where)
    for key, value in overrides.items():
        _override(protocol, key, value)
    return protocol


def _folder() -> Any:
    return importlib.resources.files("hf_ltr") / "resources" / "protocols"


def _read(name_or_path: str | Path) -> tuple[str, str]:
    name = str(name_or_path)
    if name in protocol_names():
        return (_folder() / f"{name}.yaml").read_text(encoding="utf-8"), f"protocol {name}"
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            near = nearest_names(path.stem, protocol_names())
            raise FileNotFoundError(
                f"There is no protocol file {name}.{f' Did you mean the protocol {near[0]}?' if near else ''}"
            )
        return read_text(path), str(path)
    raise unknown_name("protocol", name, protocol_names(), "The path of a YAML file works too.")


def _check(protocol: Protocol, where: str) -> None:
    from ..methods import METHODS, check_options
    from .row_sets import checked_row_sets
    from .specification import POST_HOC

    if not re.fullmatch(r"[\w.+-]*\w[\w.+-]*", protocol.name):
        raise ValueError(
            f"{where}: name must be letters, digits and . + - _ (the table's folder is named by it), "
            f"got {shown(protocol.name)}"
        )
    protocol.data = _converted("data", protocol.data, where)
    protocol.model = _converted("model", protocol.model, where)
    protocol.arguments = _converted("arguments", protocol.arguments, where)
    if protocol.pretraining is not None:
        # Ranges are checked by get_method, which knows them.
        protocol.pretraining = dict(mapping(f"{where}, pretraining", protocol.pretraining))
        check_options("masked_autoencoding", protocol.pretraining)
    protocol.stages = {
        stage: _converted("arguments", values, f"{where}, stage {stage}") for stage, values in protocol.stages.items()
    }
    for method, parts in list(protocol.methods.items()):
        if method not in METHODS:
            raise unknown_name(f"method in {where}", method, METHODS)
        parts = protocol.methods[method] = mapping(f"{where}, {method}", parts)
        for part, values in list(parts.items()):
            place = f"{where}, {method}"
            if part not in _PARTS:
                raise unknown_name(f"key of {place}", part, _PARTS)
            if part == "stages":
                parts[part] = {
                    stage: _converted("arguments", inner, f"{place}, stage {stage}")
                    for stage, inner in mapping(place, values).items()
                }
            elif part == "options":
                # Ranges are checked by get_method, which knows them.
                parts[part] = dict(mapping(place, values))
                check_options(method, parts[part])
            else:
                parts[part] = _converted(part, values, place)
    for name, values in protocol.post_hoc.items():
        if name not in POST_HOC:
            raise unknown_name(f"post-hoc adjustment in {where}", name, POST_HOC)
        for key in mapping(where, values):
            if key != "tau":
                raise unknown_name(f"option of {name} in {where}", key, ("tau",))
            number(f"tau of {name} in {where}", values[key], minimum=0)
    for key in protocol.published:
        if key not in _PUBLISHED:
            raise unknown_name(f"key of published in {where}", key, _PUBLISHED)
        value = protocol.published[key]
        for item in value if isinstance(value, list) and key == "source" else [value]:
            text(f"{key} of published in {where}", item)
    protocol.rows = checked_row_sets(protocol.rows, where)


def _converted(part: str, values: Any, where: str) -> dict[str, Any]:
    kinds = _kinds(part)
    converted = {}
    for key, value in mapping(where, values).items():
        if key not in kinds:
            hint = "The table sets it for each run." if key in NOT_PROTOCOL else ""
            raise unknown_name(f"option of {part} in {where}", key, kinds, hint)
        converted[key] = _convert(key, value, kinds)
    return converted


def _kinds(part: str) -> dict[str, Any]:
    """Types of the fields of a part; the classes are imported when they are needed."""
    from ..recipe.recipe import DataOptions, ModelOptions

    if part == "arguments":
        from ..trainer import LongTailTrainingArguments

        kind: Any = LongTailTrainingArguments
    else:
        kind = {"data": DataOptions, "model": ModelOptions}[part]
    hints = typing.get_type_hints(kind)
    return {
        item.name: (hints[item.name], item.default == "none")
        for item in dataclasses.fields(kind)
        if item.init and item.name not in NOT_PROTOCOL
    }


def _convert(key: str, value: Any, kinds: dict[str, Any]) -> Any:
    from ..recipe.options import convert

    return convert(value, kinds[key][0], key, kinds[key][1])


def _is_limit(key: str, value: Any) -> bool:
    """Whether an override limits steps; -1 is the training arguments' way to say that nothing does."""
    if key != _TRIAL or value == -1:
        return False
    if value is None or value < 1:
        raise ValueError(f"max_steps must be at least 1 (or -1 for no limit), got {value}")
    return True


def _override(protocol: Protocol, key: str, value: Any) -> None:
    stage, dot, inner = key.partition(".")
    if dot:
        kinds = _kinds("arguments")
        if inner not in kinds:
            raise unknown_name(f"override of stage {stage}", inner, kinds)
        converted = protocol.overrides[key] = _convert(inner, value, kinds)
        if not _is_limit(inner, converted):
            protocol.stages.setdefault(stage, {})[inner] = converted
        return
    for part in ("data", "model", "arguments"):
        kinds = _kinds(part)
        if key in kinds:
            converted, values = _convert(key, value, kinds), getattr(protocol, part)
            if key not in PLACES and (key not in values or values[key] != converted):
                protocol.overrides[key] = converted
            if not _is_limit(key, converted):
                values[key] = converted
            return
    if key in NOT_PROTOCOL:
        raise ValueError(
            f"{key} is not part of a protocol: the table sets it for each run (see --seeds, --output_dir)"
        )
    raise unknown_name("override", key, [*_kinds("data"), *_kinds("model"), *_kinds("arguments")])
