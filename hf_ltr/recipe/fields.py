"""
Options are fields of dataclasses. A field's type, default and metadata (and what the class adds to the latter in
`OPTION_METADATA`) are all there is to know of an option:

    help (`str`): For `--help`.
    choices (`tuple[str, ...]`): The values that there are.
    positional (`bool`): Its value may also stand without the name.
    old_names (`tuple[str, ...]`): Names that are still understood, on the command line and in YAML.
    instead_of (`str`): The field that says the same in another form; of the two, the one said last counts.
    whole_words (`bool`): Of a list: a word of the command line is one item, commas or not.
    repeats (`bool`): Of a list: given again, it adds to what it has.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..naming import unknown_name
from .conversion import alternatives, convert

REQUIRED = dataclasses.MISSING


@dataclass(frozen=True)
class OptionField:
    """
    One option.

    Args:
        name (`str`): Of the field.
        kind: Its type.
        default: Its default, or `REQUIRED`.
        metadata (`dict`): See above.
    """

    name: str
    kind: Any
    default: Any
    metadata: Mapping[str, Any]

    @property
    def help(self) -> str:
        return self.metadata.get("help", "")

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(self.metadata.get("choices") or ())

    @property
    def positional(self) -> bool:
        return bool(self.metadata.get("positional"))

    @property
    def takes_many(self) -> bool:
        """Whether several words of the command line may be its value."""
        return any((typing.get_origin(kind) or kind) in (list, tuple) for kind in alternatives(self.kind))

    @property
    def is_flag(self) -> bool:
        """Whether it may stand alone on the command line."""
        return bool in alternatives(self.kind)

    def convert(self, raw: Any, key: str) -> Any:
        """
        `raw` as the type of the field.

        Raises:
            `ValueError`: naming the option as `key`.
        """
        if isinstance(raw, str) and self.metadata.get("whole_words"):
            raw = [raw]
        # Where `none` is the default as a word (`report_to`), it is a value and not the absence of one.
        value = convert(raw, self.kind, key, none_is_a_word=self.default == "none")
        for item in value if isinstance(value, list) else [value]:
            if self.choices and item is not None and item not in self.choices:
                raise unknown_name(key, item, self.choices)
        return value


@lru_cache(maxsize=32)
def _type_hints(dataclass_type: type) -> dict[str, Any]:
    """Text of annotations is evaluated once: training arguments have some hundred."""
    return typing.get_type_hints(dataclass_type)


def own_fields(dataclass_type: type) -> list[OptionField]:
    """The options of a dataclass, in their order."""
    hints = _type_hints(dataclass_type)
    more = getattr(dataclass_type, "OPTION_METADATA", {})
    return [
        OptionField(item.name, hints[item.name], _default(item), {**item.metadata, **more.get(item.name, {})})
        for item in dataclasses.fields(dataclass_type)
        if item.init
    ]


def option_fields(dataclass_types: Sequence[type], without: Iterable[str] = ()) -> dict[str, OptionField]:
    """The options of several dataclasses by name; where two share a name, the first has it."""
    found: dict[str, OptionField] = {}
    for dataclass_type in dataclass_types:
        for item in own_fields(dataclass_type):
            if item.name not in without:
                found.setdefault(item.name, item)
    return found


def _default(item: dataclasses.Field) -> Any:
    """The default of a field of a dataclass, or `REQUIRED`."""
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def other_forms(fields: Mapping[str, OptionField]) -> dict[str, str]:
    """By name, the field that says the same in another form."""
    pairs = {name: item.metadata["instead_of"] for name, item in fields.items() if "instead_of" in item.metadata}
    return {**pairs, **{other: name for name, other in pairs.items()}}


def old_names(fields: Mapping[str, OptionField]) -> dict[str, str]:
    """The names of today by those of earlier versions."""
    return {old: name for name, item in fields.items() for old in item.metadata.get("old_names", ())}
