"""What a class says about itself and its arguments, read from its docstring."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field

_ARGUMENT = re.compile(r"^(\w+(?:, \w+)*) \((.+?)\)(?:[:.] ?(.*))?$")
_SECTION = re.compile(r"^(\w[\w ]*):$")
_LINK = re.compile(r"\[`~?([^`]+)`\]")
_SEE = re.compile(r"See \[`~?([\w.]+)`\]\.?")


@dataclass
class Documentation:
    """
    A parsed docstring.

    Args:
        paragraphs (`list[str]`): Prose before the first section, one string per paragraph, in Markdown.
        arguments (`dict[str, str]`): Meaning by name of argument, in Markdown, in order.
    """

    paragraphs: list[str] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)


def read_docstring(documented: type, others: list[type] | None = None) -> Documentation:
    """
    Parse the docstring of a class that is written as everywhere in this package.

    Args:
        documented (`type`): The class.
        others (`list[type]`, *optional*): Classes that an argument may refer to: `See [`LDAM`].` takes the meaning
            from there.

    Returns:
        [`Documentation`]

    Raises:
        `ValueError`: for an entry under `Args:` that is not `name (type): meaning`.
    """
    lines = inspect.cleandoc(documented.__doc__ or "").splitlines()
    first = next((number for number, line in enumerate(lines) if _SECTION.match(line)), len(lines))
    paragraphs = [plain_links(" ".join(part.split())) for part in "\n".join(lines[:first]).split("\n\n")]
    arguments: dict[str, str] = {}
    for entry in _entries(_section(lines, "Args")):
        match = _ARGUMENT.match(entry)
        if match is None:
            raise ValueError(
                f"{documented.__name__}: cannot read the argument {entry!r}; write `name (type): meaning`"
            )
        names, _, meaning = match.groups()
        for name in names.split(", "):
            arguments[name] = _meaning(name, meaning or "", documented, others or [])
    return Documentation([part for part in paragraphs if part], arguments)


def plain_links(text: str) -> str:
    """`[`~hf_ltr.models.Name`]` as `Name` in code: these links mean nothing outside a documentation builder."""
    return _LINK.sub(
        lambda match: f"`{match[1].rsplit('.', 1)[-1] if match[0].startswith('[`~') else match[1]}`", text
    )


def options(documented: type, without: tuple[str, ...] = ("class_counts",)) -> dict[str, inspect.Parameter]:
    """Parameters of the constructor by name, but for those that are data and `**options` of a base class."""
    return {
        name: parameter
        for name, parameter in inspect.signature(documented).parameters.items()
        if name not in without and parameter.kind is not parameter.VAR_KEYWORD
    }


def undocumented(documented: type) -> list[str]:
    """Options that the docstring does not explain, and entries of the docstring that are no options (with a `-`)."""
    known = read_docstring(documented, others=list(documented.__mro__)).arguments
    taken = options(documented, without=())
    missing = [name for name in taken if name not in known and name != "class_counts"]
    missing += [name for name in options(documented) if name in known and not known[name]]
    return missing + [f"-{name}" for name in known if name not in taken]


def _section(lines: list[str], title: str) -> list[str]:
    """Lines of a section, without its indentation."""
    if f"{title}:" not in lines:
        return []
    start = lines.index(f"{title}:") + 1
    end = next((n for n in range(start, len(lines)) if lines[n] and not lines[n].startswith(" ")), len(lines))
    return [line[4:] for line in lines[start:end] if line.strip()]


def _entries(lines: list[str]) -> list[str]:
    """Each entry as one line; what is indented continues the entry above it."""
    entries: list[str] = []
    for line in lines:
        if line.startswith(" ") and entries:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line.strip())
    return entries


def _meaning(name: str, text: str, documented: type, others: list[type]) -> str:
    match = _SEE.fullmatch(text.strip())
    if match:
        for other in others:
            if other.__name__ == match[1].rsplit(".", 1)[-1] and other is not documented:
                return read_docstring(other, others).arguments.get(name, plain_links(text))
    return plain_links(text.strip())
