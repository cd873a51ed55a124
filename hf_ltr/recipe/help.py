"""`--help`: what there is to say about options, in the order of their dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .fields import REQUIRED, OptionField, own_fields


def usage_line(program: str, fields: Iterable[OptionField]) -> str:
    """What is called with what: arguments by place, then options that have to be there."""
    words = [program]
    for item in fields:
        name = item.name.upper()
        if item.positional:
            words.append(name if item.default is REQUIRED else f"[{name}]")
        elif item.default is REQUIRED:
            words.append(f"--{item.name} {name}")
    return f"usage: {' '.join(words)} [--option value ...]"


def help_text(
    description: str,
    dataclass_types: Sequence[type],
    sections: Mapping[str, type],
    *,
    defaults: Mapping[str, Any],
    without: Sequence[str] = (),
) -> str:
    """Every own option of the dataclasses with default, choices and help; fields of their parents are only named."""
    lines = [description.strip(), "", "Options (--name value, or `name: value` in the file given with --config):", ""]
    seen = set(without)
    for dataclass_type in dataclass_types:
        lines.append(f"{dataclass_type.__name__}:")
        own = set(dataclass_type.__annotations__)
        for item in own_fields(dataclass_type):
            if item.name in own and item.name not in seen:
                lines.append(_line(item, defaults))
                seen.add(item.name)
        inherited = [base.__name__ for base in dataclass_type.__mro__[1:-1] if dataclasses.is_dataclass(base)]
        if inherited:
            lines.append(f"  ... and every field of {', '.join(inherited)}")
        lines.append("")
    for name, kind in sections.items():
        lines.append(f"--{name}.<option> value: any field of {kind.__name__}, for the stage {name!r} only")
    lines.append("--print_config: show all that is set as YAML for --config, and do nothing else")
    return "\n".join(lines)


def _line(item: OptionField, defaults: Mapping[str, Any]) -> str:
    default = defaults.get(item.name, item.default)
    said = "must be given" if default is REQUIRED else f"default {default}"
    choices = f"; {', '.join(item.choices)}" if item.choices else ""
    name = item.name.upper() if item.positional else f"--{item.name}"
    return f"  {name}  ({said}{choices})  {item.help}".rstrip()
