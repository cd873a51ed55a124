"""All options of a run as YAML that `--config` reads again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..reading import yaml_text
from ..redaction import HIDDEN, is_secret, without_secrets
from ..version import __version__
from .fields import REQUIRED, own_fields


def config_text(
    values: Mapping[str, Any],
    sections: Mapping[str, Mapping[str, Any]],
    dataclass_types: Sequence[type],
    without: Sequence[str] = (),
) -> str:
    """
    What was set, by dataclass, and as comments the own options of each dataclass that are at their defaults. Secrets
    are named in a comment and have to be given again.
    """
    lines = [
        f"# Options of hf_ltr {__version__}, for --config. What is commented out is at its default.",
        "# Paths are relative to the folder in which the command is given.",
    ]
    seen = set(without)
    for dataclass_type in dataclass_types:
        lines += ["", f"# {dataclass_type.__name__}"]
        own = set(dataclass_type.__annotations__)
        for item in own_fields(dataclass_type):
            if item.name in seen:
                continue
            seen.add(item.name)
            if item.name in values:
                lines.append(_entry(item.name, values[item.name]))
            elif item.name in own and item.default is not REQUIRED:
                lines.append(_commented(_entry(item.name, item.default)))
    for name, inner in sections.items():
        if inner:
            lines += ["", f"{name}:", *(_indented(_entry(key, value)) for key, value in inner.items())]
    return "\n".join(lines) + "\n"


def _entry(name: str, value: Any) -> str:
    text = yaml_text({name: value}).rstrip("\n")
    return f"# {name}: {HIDDEN}" if _has_secret(name, value) or without_secrets(text) != text else text


def _has_secret(name: str, value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_secret(str(key), item) for key, item in value.items())
    return is_secret(name, value)


def _commented(entry: str) -> str:
    return "\n".join(line if line.startswith("#") else f"# {line}" for line in entry.splitlines())


def _indented(entry: str) -> str:
    return "\n".join(f"  {line}" for line in entry.splitlines())
