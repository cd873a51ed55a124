"""
The one option system: fields of dataclasses, set by YAML files and by the command line.

YAML files are merged from left to right, sections key by key; the command line wins wherever it stands, and a key
nobody knows fails with the nearest name. Sections (one per stage) hold fields of the training arguments:
`--finetuning.max_steps 600`, or in YAML

    finetuning:
      max_steps: 600

`--print_config` shows what comes out of it all, as YAML for `--config`.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from ..naming import unknown_name
from ..redaction import public
from .config_text import config_text
from .fields import REQUIRED, OptionField, option_fields, other_forms
from .help import help_text, usage_line
from .settings import ON_COMMAND_LINE, Setting, asks_for_help, asks_to_print, normal, read_settings

# The dataclass of each section by its name, or what finds them from the flat options.
Sections = Mapping[str, type] | Callable[[Mapping[str, Any]], Mapping[str, type]]
T = TypeVar("T")

# Options that are no fields.
_OF_EVERY_COMMAND = ("config", "print_config", "help")


@dataclass
class ParsedOptions:
    """
    What was set, and nothing else.

    Args:
        values (`dict`): Flat options by field name.
        sections (`dict[str, dict]`): Options of each section.
        on_command_line (`set[str]`): Names, as `section.name` too, of what the command line itself said.
        types (sequence of `type`): The dataclasses whose fields the flat options are.
        without (sequence of `str`): Fields of theirs that are no options.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    on_command_line: set[str] = field(default_factory=set)
    types: Sequence[type] = ()
    without: Sequence[str] = ()

    @property
    def text(self) -> str:
        """All of it as YAML that `--config` reads again."""
        return config_text(self.values, self.sections, self.types, self.without)

    def build(self, dataclass_type: type[T]) -> T:
        """An instance of `dataclass_type` from the values that are its fields."""
        return dataclass_type(**self.of(dataclass_type))

    def of(self, dataclass_type: type) -> dict[str, Any]:
        """The values that are fields of `dataclass_type`."""
        names = {item.name for item in dataclasses.fields(dataclass_type) if item.init}
        return {key: value for key, value in self.values.items() if key in names}


def parse_options(
    argv: Sequence[str],
    dataclass_types: Sequence[type],
    *,
    sections: Sections | None = None,
    defaults: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
    description: str = "",
    program: str = "",
) -> ParsedOptions:
    """
    Parse a command line, and the YAML files it names with `--config`.

    Args:
        argv: Arguments without the program name.
        dataclass_types: Their fields are the flat options; where two share a name, the first gives its type.
        sections (`dict[str, type]` or `Callable`, *optional*): Section name to the dataclass its keys are fields of;
            or a function that finds them from the flat options that were set.
        defaults (`dict`, *optional*): Options that are set where nobody says otherwise.
        without (sequence of `str`): Fields that are no options here.
        description (`str`): First lines of `--help`.
        program (`str`): What is called, for a line of usage before them.

    Returns:
        [`ParsedOptions`]

    Raises:
        `ValueError`: for an unknown key, a missing value, a value that is not of the field's type, or a file that is
            no YAML. `FileNotFoundError`: for a `--config` that is not there.
    """
    fields = option_fields(dataclass_types, without)
    defaults = dict(defaults or {})
    if any(map(asks_for_help, argv)):
        found = _sections(sections, {**defaults, **glance(argv, dataclass_types)})
        usage = f"{usage_line(program, fields.values())}\n\n" if program else ""
        _print_and_end(usage + help_text(description, dataclass_types, found, defaults=defaults, without=without))
    settings = read_settings(argv, fields)
    parsed = ParsedOptions(defaults, types=dataclass_types, without=without)
    found = _sections(sections, {**defaults, **_readable(settings, fields)})
    section_fields = {name: option_fields([kind]) for name, kind in found.items()}
    parsed.sections = {name: {} for name in found}
    for setting in settings:
        for one in _flattened(setting, section_fields):
            _store(one, fields, section_fields, parsed)
    _require(fields, parsed.values)
    public([parsed.values, parsed.sections])  # from here on, secrets among them are hidden wherever they turn up
    if any(map(asks_to_print, argv)):
        _print_and_end(parsed.text.rstrip("\n"))
    return parsed


def glance(argv: Sequence[str], dataclass_types: Sequence[type]) -> dict[str, Any]:
    """The values that can be read, whatever else is wrong with a command line or its YAML files."""
    fields = option_fields(dataclass_types)
    try:
        return _readable(read_settings(argv, fields), fields)
    except (OSError, ValueError):
        return {}


def check_names(argv: Sequence[str], dataclass_types: Sequence[type], more: Callable[[str], bool]) -> None:
    """
    Refuse an option that there is not before what [`parse_options`] needs besides the dataclasses is imported.

    Args:
        argv: Arguments without the program name.
        dataclass_types: Most of those of [`parse_options`].
        more (`Callable`): Whether there may be an option of a name that none of them has; sections may have any.

    Raises:
        `ValueError`: as [`parse_options`].
    """
    if any(map(asks_for_help, argv)):
        return
    fields = option_fields(dataclass_types)
    for setting in read_settings(argv, fields):
        of_section = "." in setting.key or setting.raw is None or isinstance(setting.raw, dict)
        if not (setting.key in fields or of_section or more(setting.key)):
            raise unknown_name(f"option {setting.where}", setting.key, [*fields, *_OF_EVERY_COMMAND])


def _print_and_end(text: str) -> NoReturn:
    if os.environ.get("RANK", "0") == "0":
        print(text)
    sys.exit(0)


def _require(fields: Mapping[str, OptionField], values: Mapping[str, Any]) -> None:
    said = []
    for item in fields.values():
        if item.default is REQUIRED and item.name not in values:
            what = f"one of {', '.join(item.choices)}" if item.choices else item.help.rstrip(".")
            said.append(f"{'' if item.positional else '--'}{item.name} is missing: {what}")
    if said:
        raise ValueError("; ".join(said))


def _sections(sections: Sections | None, values: Mapping[str, Any]) -> Mapping[str, type]:
    return sections(values) if callable(sections) else sections or {}


def _readable(settings: Sequence[Setting], fields: Mapping[str, OptionField]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for setting in settings:
        if setting.key in fields:
            try:
                values[setting.key] = fields[setting.key].convert(setting.raw, setting.key)
            except ValueError:
                continue
    return values


def _flattened(setting: Setting, section_fields: Mapping[str, Any]) -> list[Setting]:
    """A section of a YAML file as settings of its own."""
    if setting.key not in section_fields or not (setting.raw is None or isinstance(setting.raw, dict)):
        return [setting]
    return [
        Setting(f"{setting.key}.{normal(str(inner))}", value, setting.where)
        for inner, value in (setting.raw or {}).items()
    ]


def _store(
    setting: Setting,
    fields: Mapping[str, OptionField],
    section_fields: Mapping[str, Mapping[str, OptionField]],
    parsed: ParsedOptions,
) -> None:
    key, where = setting.key, setting.where
    section, dot, name = key.partition(".")
    if dot:
        if section not in section_fields:
            raise unknown_name(f"section {where}", section, section_fields)
        if name not in section_fields[section]:
            raise unknown_name(f"option of section {section} {where}", name, section_fields[section])
        known, values = section_fields[section], parsed.sections[section]
    else:
        name, known, values = key, fields, parsed.values
        if name not in fields:
            sections = (f"{each}.<option>" for each in section_fields)
            raise unknown_name(f"option {where}", key, [*fields, *_OF_EVERY_COMMAND, *sections])
    value = known[name].convert(setting.raw, key)
    if where == ON_COMMAND_LINE:
        if known[name].metadata.get("repeats") and key in parsed.on_command_line:
            value = [*values[name], *value]
        parsed.on_command_line.add(key)
    # A value also replaces what an earlier place (a config) said about the same thing in another form.
    values.pop(other_forms(known).get(name, ""), None)
    values[name] = value
